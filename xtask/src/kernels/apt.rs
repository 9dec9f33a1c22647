//! Packages of Debian, fetched and unpacked beside the machine's own.
//!
//! Nothing of the machine's configuration is changed: sources, lists and archives are our own. The
//! mirror is the one that the machine itself uses.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::kernel::Arch;

/// A suite of one architecture.
#[derive(Debug)]
pub(super) struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

/// Where the machine's own packages come from.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    address: String,
    /// Its own suite: that of the C library that programs are linked with here.
    pub(super) suite: String,
}

impl Mirror {
    pub(super) fn of_this_machine(shell: &Shell) -> Result<Mirror> {
        let format = "$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)";
        let targets = cmd!(
            shell,
            "apt-get indextargets --format {format} 'Created-By: Packages'"
        );
        let targets = targets.quiet().read().context("ask apt for its sources")?;
        let mirror = targets.lines().find_map(|line| {
            let [origin, component, suite, address] = line.split(' ').collect::<Vec<_>>()[..]
            else {
                return None;
            };
            // Updates of a suite have a dash in their name.
            let is_ours = origin == "Debian" && component == "main" && !suite.contains('-');
            is_ours.then(|| Mirror {
                address: address.to_owned(),
                suite: suite.to_owned(),
            })
        });
        mirror.context("none of apt's sources is Debian's: the kernels are Debian's packages")
    }
}

impl Apt {
    /// With the lists of today.
    pub(super) fn open(
        shell: &Shell,
        folder: &Path,
        mirror: &Mirror,
        suite: &str,
        arch: Arch,
    ) -> Result<Apt> {
        let folder = folder.join(format!("{suite}-{}", arch.debian()));
        fs::create_dir_all(folder.join("lists/partial")).context("make a folder for packages")?;
        let sources = folder.join("sources.list");
        fs::write(&sources, format!("deb {} {suite} main\n", mirror.address))?;
        let nothing_is_installed = folder.join("status");
        File::create(&nothing_is_installed)?;
        let (at, arch) = (folder.display(), arch.debian());
        let options = [
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=/dev/null".into(),
            format!("Dir::State={at}"),
            format!("Dir::State::lists={at}/lists"),
            format!("Dir::State::status={}", nothing_is_installed.display()),
            format!("Dir::Cache={at}"),
            // They are kept, to be there the next time.
            "APT::Keep-Downloaded-Packages=true".into(),
            format!("APT::Architecture={arch}"),
            format!("APT::Architectures={arch}"),
            "APT::Sandbox::User=root".into(),
            "APT::Install-Recommends=false".into(),
            "Acquire::Languages=none".into(),
            "Dpkg::Use-Pty=0".into(),
        ];
        let options = options.iter().flat_map(|option| ["-o", option]);
        let options = options.map(str::to_owned).collect();
        let apt = Apt { folder, options };
        let options = &apt.options;
        let update = cmd!(shell, "apt-get -qq {options...} update");
        let updated = update.quiet().run();
        updated.with_context(|| format!("fetch the list of packages of {suite}"))?;
        Ok(apt)
    }

    /// These packages and all that they depend on, in a folder of that name.
    pub(super) fn fetch(
        &self,
        shell: &Shell,
        folder: &str,
        names: &[&str],
    ) -> Result<Vec<Package>> {
        let folder = self.folder.join(folder);
        fs::create_dir_all(folder.join("partial")).context("make a folder for packages")?;
        let mut options = self.options.clone();
        let archives = format!("Dir::Cache::archives={}", folder.display());
        options.extend(["-o".to_owned(), archives]);
        let options = &options;
        // Versions that an earlier run has fetched.
        cmd!(shell, "apt-get -qq {options...} autoclean")
            .quiet()
            .ignore_stdout()
            .run()?;
        let install = || cmd!(shell, "apt-get -qq -y {options...} install");
        let fetched = install().arg("--download-only").args(names).quiet();
        let fetched = fetched.ignore_stdout().run();
        fetched.with_context(|| format!("fetch {}", names.join(", ")))?;
        let plan = install().arg("--simulate").args(names).quiet().read()?;
        let plan: BTreeSet<&str> = plan
            .lines()
            .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
            .collect();
        let mut packages = Vec::new();
        for entry in fs::read_dir(&folder).context("look at what was fetched")? {
            let file = entry?.path();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            // NAME_VERSION_ARCHITECTURE.deb
            let name = name.split_once('_').map(|(name, _)| name.to_owned());
            if let Some(name) = name.filter(|name| plan.contains(name.as_str())) {
                packages.push(Package { name, file });
            }
        }
        packages.sort();
        ensure!(
            packages.len() == plan.len(),
            "apt fetched {} of {} packages",
            packages.len(),
            plan.len()
        );
        Ok(packages)
    }
}

/// A package that was fetched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    file: PathBuf,
}

impl Package {
    /// Its file's name: that of the package with its version.
    pub(super) fn file_name(&self) -> String {
        let name = self.file.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Unpacks it into `root`. The folders of `root` may be symlinks: /bin to usr/bin.
    pub(super) fn unpack(&self, root: &Path) -> Result<()> {
        let name = &self.name;
        let mut packed = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(&self.file)
            .stdout(Stdio::piped())
            .spawn()
            .context("run dpkg-deb")?;
        let tar = packed.stdout.take().context("dpkg-deb has no output")?;
        let unpacked = Command::new("tar")
            .args(["-x", "--keep-directory-symlink", "-C"])
            .arg(root)
            .stdin(tar)
            .status();
        let done = packed.wait()?.success() && unpacked.context("run tar")?.success();
        ensure!(done, "{name} cannot be unpacked");
        Ok(())
    }
}
