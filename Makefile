# The doors of this repository. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help demo test check fuzz prepare

help: ## List the doors
	@sed -n 's/^\([a-z]*\):.* ## /\1 /p' $(MAKEFILE_LIST) \
		| while read -r door story; do printf 'make %-6s %s\n' "$$door" "$$story"; done

demo: ## See it work: a stand-in Wegly, a gateway and six messages; no network needed
	cargo run --locked --quiet -- demo

test: prepare ## Run every test
	@if cargo nextest --version >/dev/null 2>&1; then \
		set -x; cargo nextest run --locked; \
	else \
		set -x; cargo test --locked --tests; \
	fi
	cargo test --locked --doc

# The examples name the real places of secrets; here they get a token that is none.
check: export PORTARIA__CREDENTIALS__MAIN__TOKEN = env:WEGLY_TOKEN
check: export WEGLY_TOKEN = not-a-token
check: prepare ## Format, lints, documentation, and every file in config/
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	@for file in config/*.toml; do \
		echo "portaria check --config $$file"; \
		cargo run --locked --quiet -- check --config "$$file" || exit; \
	done

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
