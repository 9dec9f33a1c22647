//! An emulated machine that boots a kernel, does a job and tells its results.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::kernel::Arch;
use super::result::{Ended, Reader, Results};

/// What a machine is made of.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub(super) arch: Arch,
    pub(super) kernel: &'a Path,
    pub(super) initrd: &'a Path,
    /// The system, and the tests.
    pub(super) disks: [&'a Path; 2],
    /// Where what the kernel says on its console goes.
    pub(super) console: &'a Path,
    /// Before it is switched off.
    pub(super) limit: Duration,
}

/// Of memory, in MiB.
const MEMORY: &str = "2048";

impl Machine<'_> {
    /// Boots it, and waits until it is off. Tells of each program of the job that has ended.
    pub(super) fn run(&self, mut told: impl FnMut(&Ended)) -> Result<Results> {
        let mut qemu = Switched(self.command()?.spawn().context("start the emulator")?);
        let output = qemu.0.stdout.take().context("the emulator has no output")?;
        let (says, said) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output
                .read_until(b'\n', &mut line)
                .is_ok_and(|read| read > 0)
            {
                let text = String::from_utf8_lossy(&line);
                if says.send(text.trim_end().to_owned()).is_err() {
                    break;
                }
                line.clear();
            }
        });
        let deadline = Instant::now() + self.limit;
        let mut results = Reader::default();
        loop {
            match said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(ended) = results.line(&line) {
                        told(&ended);
                    }
                }
                Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => break,
            }
        }
        drop(qemu);
        let _ = reader.join();
        Ok(results.end())
    }

    fn command(&self) -> Result<Command> {
        let (emulator, options, console) = match self.arch {
            Arch::Amd64 => (
                "qemu-system-x86_64",
                ["-M", "q35", "-cpu", "qemu64"],
                // The kernel tests timers against each other, and an emulator on a busy machine fails.
                "ttyS0 no_timer_check tsc=reliable clocksource=tsc",
            ),
            Arch::Arm64 => (
                "qemu-system-aarch64",
                ["-M", "virt", "-cpu", "cortex-a72"],
                "ttyAMA0",
            ),
        };
        let mut command = Command::new(emulator);
        command
            .args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", MEMORY])
            .args(options)
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .arg("-serial")
            .arg(format!("file:{}", self.console.display()))
            .arg("-kernel")
            .arg(self.kernel)
            .arg("-initrd")
            .arg(self.initrd)
            .arg("-append")
            .arg(format!(
                "console={console} quiet panic=-1 mitigations=off nowatchdog audit=0"
            ));
        for disk in self.disks {
            let disk = disk.display();
            // What is written goes nowhere: the next machine finds the disk as it was.
            command
                .arg("-drive")
                .arg(format!("file={disk},if=virtio,format=raw,snapshot=on"));
        }
        command
            .args(["-device", "virtio-serial-pci"])
            .args(["-chardev", "file,id=results,path=/dev/stdout"])
            .args(["-device", "virtserialport,chardev=results,name=results"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(self.console.with_extension("emulator"))?);
        Ok(command)
    }
}

/// An emulator, which ends with its owner.
#[derive(Debug)]
struct Switched(Child);

impl Drop for Switched {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
