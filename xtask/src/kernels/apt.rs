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
            // Some machines are configured to keep none of these.
            "Dir::Cache::pkgcache=pkgcache.bin".into(),
            "Dir::Cache::srcpkgcache=srcpkgcache.bin".into(),
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

    /// These packages and all that they depend on, as far as they are `wanted`, in a folder of
    /// that name.
    pub(super) fn fetch(
        &self,
        shell: &Shell,
        folder: &str,
        names: &[&str],
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Package>> {
        let folder = self.folder.join(folder);
        fs::create_dir_all(&folder).context("make a folder for packages")?;
        let options = &self.options;
        let install = cmd!(shell, "apt-get -qq -y {options...} install --simulate");
        let plan = install.args(names).quiet().read();
        let plan = plan.with_context(|| format!("ask apt for {}", names.join(", ")))?;
        let plan: BTreeSet<Version> = plan
            .lines()
            .filter_map(Version::of)
            .filter(|package| wanted(&package.name))
            .collect();
        let versions: Vec<String> = plan.iter().map(Version::in_words).collect();
        let inside = shell.push_dir(&folder);
        let download = cmd!(shell, "apt-get -qq {options...} download {versions...}");
        let downloaded = download.quiet().ignore_stdout().run();
        downloaded.with_context(|| format!("fetch {}", names.join(", ")))?;
        drop(inside);
        let plan: BTreeSet<String> = plan.iter().map(Version::in_file).collect();
        let mut packages = Vec::new();
        for entry in fs::read_dir(&folder).context("look at what was fetched")? {
            let file = entry?.path();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            // NAME_VERSION_ARCHITECTURE.deb; earlier versions may lie there too.
            let Some((package, _)) = name.rsplit_once('_') else {
                continue;
            };
            if plan.contains(package) {
                let name = package.split('_').next().unwrap_or(package).to_owned();
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

/// A package that apt says it would install: `Inst NAME (VERSION ...`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    name: String,
    version: String,
}

impl Version {
    fn of(line: &str) -> Option<Version> {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
        let version = rest.split(' ').next()?;
        Some(Version {
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }

    /// As apt takes it.
    fn in_words(&self) -> String {
        format!("{}={}", self.name, self.version)
    }

    /// How its file begins.
    fn in_file(&self) -> String {
        format!("{}_{}", self.name, self.version.replace(':', "%3a"))
    }
}

/// A package that was fetched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    name: String,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_of_a_package_has_its_version_with_the_colon_in_disguise() {
        let line = "Inst zlib1g (1:1.2.13.dfsg-1 Debian:12.15/oldstable [amd64])";
        let package = Version::of(line).unwrap();
        assert_eq!(package.in_file(), "zlib1g_1%3a1.2.13.dfsg-1");
        assert_eq!(package.in_words(), "zlib1g=1:1.2.13.dfsg-1");
        assert_eq!(Version::of("Conf zlib1g (1:1.2.13.dfsg-1)"), None);
    }
}
