# The doors of this repository. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help demo test check package bench bench-quick stages counts soak overload sigterms \
	kills reloads replicas names guesses startup memory fuzz prepare

# How much the rigs do; `make soak MESSAGES=20000` is a quick look.
MESSAGES = 1000000
SECONDS = 20
COUNT = 1000
RELOADS = 10000
GUESSES = 1000000
STARTS = 20

help: ## List the doors
	@sed -n 's/^\([a-z-]*\):.* ## /\1 /p' $(MAKEFILE_LIST) \
		| while read -r door story; do printf 'make %-11s %s\n' "$$door" "$$story"; done

demo: ## See it work: a stand-in Wegly, a gateway and six messages; no network needed
	cargo run --locked --quiet -- demo

test: prepare ## Run every test
	@if cargo nextest --version >/dev/null 2>&1; then \
		set -x; cargo nextest run --locked; \
	else \
		set -x; cargo test --locked --tests; \
	fi

# The examples name the real places of secrets; here they get a token that is none.
check: export PORTARIA__CREDENTIALS__MAIN__TOKEN = env:WEGLY_TOKEN
check: export WEGLY_TOKEN = not-a-token
check: export REDIS_URL = redis://127.0.0.1
check: prepare ## Format, lints, documentation, config/ and deploy/, and what each step costs
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --no-default-features --lib --bins -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	@# As `make test` builds it: without the tests, half of the crates would be built twice.
	cargo build --locked --quiet --bins --tests
	@for file in config/*.toml deploy/kubernetes/*/*.toml; do \
		echo "portaria check --config $$file"; \
		$${CARGO_TARGET_DIR:-target}/debug/portaria check --config "$$file" || exit; \
	done
	@.ci/deploy
	@if command -v valgrind >/dev/null; then \
		set -x; cargo bench --locked --quiet --bench stages -- counts check; \
	else \
		echo "left out: what each step costs, as valgrind is missing"; \
	fi

package: ## Make a Debian package, in target/debian
	@cargo deb --version >/dev/null 2>&1 || { \
		echo "cargo-deb is missing; installing it"; cargo install cargo-deb --locked; }
	cargo build --locked --profile dist
	target/dist/portaria man target/package/man
	@for shell in bash fish zsh; do \
		target/dist/portaria completions $$shell >target/package/portaria.$$shell || exit; \
	done
	cargo deb --locked --no-build --profile dist

# benches/README.md says how. Peers are fetched once, into target/peers.
bench: prepare ## Put Portaria beside other gateways: a table and a plot, in 8 minutes
	benches/peers/prepare
	python3 benches/peers/bench.py

bench-quick: prepare ## The same with fewer of them, in 2 minutes
	benches/peers/prepare
	python3 benches/peers/bench.py --quick

stages: prepare ## How long does each step of a request take?
	cargo bench --locked --quiet --bench stages

counts: prepare ## Count the instructions and allocations of each step, and write them down
	cargo bench --locked --quiet --bench stages -- counts write

# benches/README.md says what they promise. Traffic stays on the loopback interface.
soak: prepare ## Send MESSAGES, then a tenth of them through every fault: is each delivered once?
	cargo bench --locked --quiet --bench rigs -- soak $(MESSAGES)

overload: prepare ## Send ten times what the upstream takes, for SECONDS: does as much get through?
	cargo bench --locked --quiet --bench rigs -- overload $(SECONDS)

sigterms: prepare ## Stop COUNT gateways under load: is no answer lost?
	cargo bench --locked --quiet --bench rigs -- sigterms $(COUNT)

reloads: prepare ## Reload RELOADS times under load: does a message fail, does anything grow?
	cargo bench --locked --quiet --bench rigs -- reloads $(RELOADS)

replicas: prepare ## Run three with one Redis, and take it away: are they as one?
	cargo bench --locked --quiet --bench rigs -- replicas

guesses: prepare ## Try GUESSES wrong keys: does the time tell how wrong they are, and does memory grow?
	cargo bench --locked --quiet --bench rigs -- guesses $(GUESSES)

startup: prepare ## Start it STARTS times: how soon is it ready?
	cargo bench --locked --quiet --bench rigs -- startup $(STARTS)

memory: prepare ## What does a key, a chat, a connection take?
	cargo bench --locked --quiet --bench rigs -- memory

kills: COUNT = 200
kills: prepare ## Kill COUNT gateways that remember in a file: is nothing sent twice?
	cargo bench --locked --quiet --bench rigs -- kills $(COUNT)

names: MESSAGES = 20000
names: prepare ## Send MESSAGES without and with an Idempotency-Key: what does it cost?
	cargo bench --locked --quiet --bench rigs -- names $(MESSAGES)

# The promises are in fuzz/src; what is found is written to fuzz/artifacts. RUSTC_BOOTSTRAP
# lets a stable compiler take the flags of the sanitizer, which is off: nothing here is unsafe.
TIME ?= 600
TARGETS ?= connection json config origin
fuzz: export RUSTC_BOOTSTRAP = 1
fuzz: prepare ## Look for inputs that break a promise: TIME=600 seconds for each of TARGETS
	@cargo fuzz --version >/dev/null 2>&1 || { \
		echo "cargo-fuzz is missing; installing it"; cargo install cargo-fuzz --locked; }
	@for target in $(TARGETS); do \
		echo "hunting in $$target for $(TIME) s"; \
		mkdir -p fuzz/found/$$target; \
		cargo fuzz run --sanitizer none $$target fuzz/found/$$target fuzz/corpus/$$target \
			-- -max_total_time=$(TIME) -timeout=20 -max_len=65536 -dict=fuzz/$$target.dict || exit; \
	done

prepare:
	@.ci/prepare
