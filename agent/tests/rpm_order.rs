//! Our order of rpm's versions against rpm's own, over thousands of generated pairs in one process.

use std::cmp::Ordering;
use std::fs;
use std::process::Command;

use patchwave_engine::versions::rpm;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Pairs to compare; rpm takes some milliseconds for them.
const PAIRS: usize = 10_000;

/// Pieces that versions are made of, the odd ones more often than in life.
const PIECES: [&str; 24] = [
    "0", "1", "01", "10", "2", "9", "100", "20240115", "a", "b", "rc1", "el9", "git", "Z", ".", ".", "_", "+", "~",
    "^", "..", "~~", "el9_3", "p",
];

fn piece(random: &mut ChaCha8Rng, pieces_max: usize) -> String {
    let mut text = random.random_range(0..10u32).to_string();
    for _ in 0..random.random_range(0..pieces_max) {
        text.push_str(PIECES[random.random_range(0..PIECES.len())]);
    }
    text
}

fn version(random: &mut ChaCha8Rng) -> String {
    let epoch =
        if random.random_range(0..4) == 0 { format!("{}:", random.random_range(0..3u32)) } else { String::new() };
    format!("{epoch}{}-{}", piece(random, 5), piece(random, 3))
}

/// A version and one that is mostly like it: pairs without anything in common are decided at once.
fn pair(random: &mut ChaCha8Rng) -> (String, String) {
    let first = version(random);
    let second = match random.random_range(0..3) {
        0 => version(random),
        1 => format!("{first}{}", PIECES[random.random_range(0..PIECES.len())]),
        _ => {
            let (head, tail) = first.split_at(random.random_range(1..first.len()));
            // An epoch must stay a number, or rpm takes it for a part of the version.
            if tail.contains(':') {
                first.clone()
            } else {
                format!("{head}{}{tail}", PIECES[random.random_range(0..PIECES.len())])
            }
        }
    };
    (first, second)
}

#[test]
fn order_agrees_with_rpm_on_generated_pairs() {
    let mut random = ChaCha8Rng::seed_from_u64(20_240_115);
    let pairs: Vec<(String, String)> = (0..PAIRS).map(|_| pair(&mut random)).collect();
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = directory.path().join("pairs");
    let lines: String = pairs.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
    fs::write(&file, lines).expect("the pairs can be written");
    let program = format!(
        "%{{lua: for line in io.lines(\"{}\") do local a, b = line:match(\"^(%S+) (%S+)$\"); \
         print(rpm.vercmp(a, b) .. \"\\n\") end}}",
        file.display()
    );
    let output =
        Command::new("rpm").args(["--eval", &program]).output().expect("this test needs rpm: install the package rpm");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Ordering> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.parse::<i32>().expect("rpm answers with a number").cmp(&0))
        .collect();
    assert_eq!(answers.len(), PAIRS);
    for ((a, b), expected) in pairs.iter().zip(&answers) {
        assert_eq!(rpm::compare_evr(a, b), *expected, "{a} {b}");
    }
    for wanted in [Ordering::Less, Ordering::Equal, Ordering::Greater] {
        assert!(
            answers.iter().filter(|answer| **answer == wanted).count() > PAIRS / 50,
            "hardly any pair is {wanted:?}"
        );
    }
}
