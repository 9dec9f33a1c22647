//! An emulated machine that boots a kernel, does a job and tells its results.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::kernel::Arch;
use super::result::{Ended, Reader, Results};
use crate::long::{Contained, Interrupt};

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
    ///
    /// A machine that is not off in time is switched off, and its results say so.
    pub(super) fn run(
        &self,
        interrupt: &Interrupt,
        mut told: impl FnMut(&Ended) + Send,
    ) -> Result<Results> {
        let mut said = BufWriter::new(File::create(self.console.with_extension("said"))?);
        let mut machine = Contained::start(&mut self.command()?)?;
        let (output, _) = machine.streams();
        let mut output = BufReader::new(output.context("the emulator has no output")?);
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let (mut results, mut line) = (Reader::default(), Vec::new());
                while output
                    .read_until(b'\n', &mut line)
                    .is_ok_and(|read| read > 0)
                {
                    // For whoever wants to read it: the results do not stand on it.
                    let _ = said.write_all(&line);
                    let text = String::from_utf8_lossy(&line);
                    if let Some(ended) = results.line(text.trim_end()) {
                        told(&ended);
                        let _ = said.flush();
                    }
                    line.clear();
                }
                results.end()
            });
            let ended = machine.wait(self.limit, interrupt);
            let results = reader.join();
            ended?;
            results.map_err(|_| anyhow!("what a machine says cannot be read"))
        })
    }

    fn command(&self) -> Result<Command> {
        let (emulator, options, console) = match self.arch {
            Arch::Amd64 => (
                "qemu-system-x86_64",
                ["-M", "q35", "-cpu", "qemu64"],
                // The kernel tests timers against each other: an emulator on a busy machine fails.
                "ttyS0 no_timer_check tsc=reliable clocksource=tsc",
            ),
        };
        let mut command = Contained::command(emulator);
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
            .stdout(Stdio::piped())
            .stderr(File::create(self.console.with_extension("emulator"))?);
        Ok(command)
    }
}
