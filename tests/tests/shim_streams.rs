//! Standard streams that a shim inherits are its runtime's own, close-on-exec or not.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use shim_spawner::{ShimHandler, ShimSpawner, Stdio};
use workspace_tests::alone;
use workspace_tests::clone_method::CloneMethod;
use workspace_tests::fd_table::{Witness, file, id, stdio};
use workspace_tests::fork::Fork;
use workspace_tests::reaped;

const FD_LIST: &str = env!("CARGO_BIN_EXE_fd_list");

/// Each of the three is another file, close-on-exec.
fn marked_streams_arrive(method: CloneMethod) {
    for number in 0..=2 {
        let file: OwnedFd = file();
        // SAFETY: the standard streams belong to the process, which has one thread.
        let done = unsafe { libc::dup3(file.as_raw_fd(), number, libc::O_CLOEXEC) };
        assert_eq!(done, number, "{}", std::io::Error::last_os_error());
        let witness = Witness::of(FD_LIST);
        let mut spawner = ShimSpawner::new(FD_LIST);
        spawner.args(witness.command.get_args()).detached(true);
        let shim = spawner.engine(method.engine()).spawn().expect("spawn");
        let exit = reaped(shim.child.process());
        let table = witness.read(exit.status.expect("own child"));
        assert_eq!(
            table.get(&number),
            Some(&id(&file)),
            "{number} by {method:?}"
        );
        assert_eq!(table, stdio());
        // SAFETY: takes no pointer and changes nothing.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        assert_eq!(flags, libc::FD_CLOEXEC, "here it stays as it was");
    }
}

#[test]
fn stream_that_is_close_on_exec_here_arrives_however_the_child_is_created() {
    alone!({
        for method in [
            CloneMethod::Clone3,
            CloneMethod::Clone,
            CloneMethod::Copy,
            CloneMethod::Fork,
        ] {
            if method == CloneMethod::Clone3 && cfg!(not(target_arch = "x86_64")) {
                continue;
            }
            Fork::run(|| {
                method.force();
                marked_streams_arrive(method);
            })
            .succeeds();
        }
    });
}

#[test]
fn each_piped_stream_of_a_handler_is_taken_once() {
    let mut spawner = ShimSpawner::new("sh");
    spawner.args(["-c", "read line; echo $line; echo not $line >&2"]);
    for pipe in [ShimSpawner::stdin, ShimSpawner::stdout, ShimSpawner::stderr] {
        pipe(&mut spawner, Stdio::piped());
    }
    let mut shim = ShimHandler::new(spawner.spawn().expect("spawn"));
    let mut stdin = shim.take_stdin().expect("piped");
    let mut stdout = shim.take_stdout().expect("piped");
    let mut stderr = shim.take_stderr().expect("piped");
    assert!(shim.take_stdin().is_none());
    assert!(shim.take_stdout().is_none());
    assert!(shim.take_stderr().is_none());
    stdin.write_all(b"heard\n").expect("it reads");
    let read = |stream: &mut dyn Read| {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read");
        text
    };
    assert_eq!(read(&mut stdout), "heard\n");
    assert_eq!(read(&mut stderr), "not heard\n");
    shim.wait().expect("wait");
}

/// node marks its own streams when it starts. The example is a native module that spawns a shim
/// from inside.
#[test]
fn shim_of_a_native_module_of_node_writes_to_the_streams_of_node() {
    let own = std::env::current_exe().expect("the test binary");
    let folder = own.ancestors().nth(2).expect("the target folder");
    let module = folder.join("examples/libnode_module.so");
    if !module.exists() {
        eprintln!(
            "skipped: {} was not built: cargo build --examples",
            module.display()
        );
        return;
    }
    let script = format!("process.dlopen({{ exports: {{}} }}, {module:?})");
    let output = match Command::new("node").args(["-e", &script]).output() {
        Ok(output) => output,
        Err(error) => return eprintln!("skipped: no node here: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    if said.contains("not marked") {
        return eprintln!("skipped: this node does not mark its streams");
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    assert!(said.contains("err\n"), "{said}");
}
