//! A runtime that works without end: some seconds of `cargo xtask stress soak`, and the proof that
//! it finds what grows.

use std::fs;
use std::process::{Command, Output, Stdio};

use workspace_tests::alone::goes_on;
use workspace_tests::{Folder, alone_in_pid_namespace, text};

/// Eight seconds, a sample as often as may be.
fn soak(folder: &Folder, args: &[&str]) -> Output {
    let csv = text(&folder.join("samples.csv"));
    let output = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args([
            "--seconds",
            "8",
            "--every",
            "0",
            "--share",
            "100",
            "--csv",
            &csv,
        ])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("run the soak");
    goes_on();
    output
}

#[test]
fn runtime_works_for_seconds_and_has_all_it_does_sampled() {
    alone_in_pid_namespace!({
        let folder = Folder::new();
        let output = soak(&folder, &[]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("runtime: descriptors"), "{output:?}");
        let csv = fs::read_to_string(folder.join("samples.csv")).expect("samples");
        let (names, samples) = csv.split_once('\n').expect("names, and samples");
        for line in samples.lines() {
            let values = line.split(',').map(|value| value.parse::<f64>());
            let values: Vec<f64> = values.collect::<Result<_, _>>().expect("numbers");
            assert_eq!(values.len(), names.split(',').count());
            // A latency of which there is none is no number.
            assert!(
                values.iter().all(|value| value.is_nan() || *value >= 0.0),
                "{line}"
            );
        }
        assert!(samples.lines().count() > 1, "{output:?}");
        // A few seconds are too few to say that memory does not grow, and enough for the others.
        let said = String::from_utf8_lossy(&output.stderr);
        for counted in ["descriptors", "threads", "processes"] {
            assert!(!said.contains(counted), "{said}");
        }
    });
}

#[test]
fn soak_finds_what_the_runtime_loses() {
    alone_in_pid_namespace!({
        for (leak, grows) in [
            ("descriptor", "runtime: descriptors"),
            ("memory", "runtime: heap"),
        ] {
            let output = soak(&Folder::new(), &["--leak", leak]);
            let said = String::from_utf8_lossy(&output.stderr);
            let grows = said
                .lines()
                .any(|line| line.contains("grow:") && line.contains(grows));
            assert!(!output.status.success() && grows, "{leak}: {output:?}");
        }
    });
}
