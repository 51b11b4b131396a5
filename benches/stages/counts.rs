//! Has a step become more expensive?
//!
//! callgrind counts the instructions of each scene, and an allocator that counts its
//! allocations; `counts.txt` says how many there were when somebody last looked. Another
//! compiler, C library or kind of processor makes other instructions, so with those nothing is
//! compared.

use std::{
    fmt::{self, Write as _},
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use tempfile::TempDir;

use crate::{
    say,
    scenes::{self, Job},
};

/// Where the counts are written down.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/stages/counts.txt");
const HEAD: &str = "# What one job of each scene takes: instructions, allocations.\n\
                    # `make counts` writes this file.";
/// How many per cent more, or fewer, are still the same.
const TOLERANCE: u64 = 3;
/// Jobs before those that count: tables have grown by then, and metrics are known.
const WARM_UP: usize = 100;
/// Jobs that count.
const JOBS: usize = 200;
/// The function that callgrind looks into, by its whole name: a pattern with stars is taken
/// for only one of the two options below.
const COUNTED: &str = "stages::counts::in_here_it_counts";

/// Runs all scenes, for callgrind, and says their names and how often each job allocates.
pub(crate) fn run() {
    for scene in scenes::all() {
        let jobs = |count| -> Vec<Job> { (0..count).map(&scene.job).collect() };
        for mut job in jobs(WARM_UP) {
            job();
        }
        let mut counted = jobs(JOBS);
        let allocated = allocation_counter::measure(|| in_here_it_counts(&mut counted));
        let each = allocated.count_total / u64::try_from(JOBS).unwrap();
        say(format_args!("{} {each}", scene.name));
    }
}

#[inline(never)]
fn in_here_it_counts(jobs: &mut [Job]) {
    for job in jobs {
        job();
    }
}

/// Counts, and fails if something differs from what is written down.
pub(crate) fn check() -> ExitCode {
    let written = fs::read_to_string(FILE).unwrap_or_default();
    let made_with = made_with();
    if !written.contains(&made_with) {
        say(format_args!(
            "counts: not compared; counts.txt was not made with {made_with}"
        ));
        return ExitCode::SUCCESS;
    }
    let Some(found) = count() else {
        return ExitCode::SUCCESS;
    };
    let written: Vec<Count> = written.lines().filter_map(Count::read).collect();
    let mut differ = 0;
    for count in &found {
        let before = written.iter().find(|before| before.name == count.name);
        if before.is_some_and(|before| count.is_about(before)) {
            continue;
        }
        differ += 1;
        let before = before.map_or("nothing".to_owned(), Count::to_string);
        say(format_args!("counts: {count}\n    written: {before}"));
    }
    if 0 < differ {
        say(format_args!(
            "counts: {differ} of {} scenes differ by more than {TOLERANCE} %. Where that is meant, \
             `make counts` writes them anew; say why in the commit.",
            found.len()
        ));
        return ExitCode::FAILURE;
    }
    say(format_args!("counts: {} scenes are as before", found.len()));
    ExitCode::SUCCESS
}

/// Counts, and writes it down.
pub(crate) fn write() {
    let Some(found) = count() else {
        return;
    };
    let mut text = format!("{HEAD}\n# Made with {}.\n", made_with());
    for count in &found {
        writeln!(text, "{count}").unwrap();
    }
    fs::write(FILE, &text).unwrap();
    say(text);
}

/// What one job of a scene takes.
#[derive(Debug)]
struct Count {
    name: String,
    instructions: u64,
    allocations: u64,
}

impl Count {
    /// Reads a line of the file. A line that begins with `#` is none.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        Some(Self {
            name: words.next()?.to_owned(),
            instructions: words.next()?.parse().ok()?,
            allocations: words.next()?.parse().ok()?,
        })
    }

    /// Reads what a scene has said, and what callgrind has written of it.
    fn of(said: &str, profile: &str) -> Self {
        let (name, allocations) = said.split_once(' ').unwrap();
        let mut lines = profile.lines();
        let total = lines.find_map(|line| line.strip_prefix("totals: "));
        Self {
            name: name.to_owned(),
            instructions: total.unwrap().parse::<u64>().unwrap() / u64::try_from(JOBS).unwrap(),
            allocations: allocations.parse().unwrap(),
        }
    }

    fn is_about(&self, other: &Self) -> bool {
        let is_near = |one: u64, other: u64| one.abs_diff(other) * 100 <= other * TOLERANCE;
        is_near(self.instructions, other.instructions)
            && is_near(self.allocations, other.allocations)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            instructions,
            allocations,
        } = self;
        write!(formatter, "{name:<28} {instructions:>8} {allocations:>4}")
    }
}

/// Runs this program under callgrind. None where there is no callgrind.
fn count() -> Option<Vec<Count>> {
    let directory = TempDir::new().unwrap();
    let profile = directory.path().join("profile");
    let counted = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--dump-after={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["counts", "run"])
        .stderr(Stdio::inherit())
        .output();
    let Ok(counted) = counted else {
        say("counts: skipped, because valgrind is missing (Debian: apt-get install valgrind)");
        return None;
    };
    assert!(
        counted.status.success(),
        "callgrind ended with {}",
        counted.status
    );
    let said = String::from_utf8(counted.stdout).unwrap();
    let numbered =
        |number: usize| fs::read_to_string(Path::new(&format!("{}.{number}", profile.display())));
    let counts = (1..).zip(said.lines());
    Some(
        counts
            .map(|(number, said)| Count::of(said, &numbered(number).unwrap()))
            .collect(),
    )
}

/// What a search for a byte is made of, by memchr and the C library.
fn processor() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        return "x86_64 with AVX2";
    }
    std::env::consts::ARCH
}

/// The compiler, the kind of processor and the C library.
fn made_with() -> String {
    let line_of = |program: &str, argument| {
        let output = Command::new(program).arg(argument).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let library = line_of("getconf", "GNU_LIBC_VERSION");
    format!(
        "{} for {}, {library}",
        line_of("rustc", "--version"),
        processor()
    )
}
