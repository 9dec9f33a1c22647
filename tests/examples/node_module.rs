//! A native module for node. When it is loaded it spawns a shim that writes to the streams it
//! inherits, waits for its end, and says whether node has marked its own streams close-on-exec.

use std::ffi::c_void;

use shim_spawner::ShimSpawner;

/// What node calls when it has loaded the module.
///
/// # Safety
/// Takes nothing from its arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn napi_register_module_v1(
    _env: *mut c_void,
    exports: *mut c_void,
) -> *mut c_void {
    // SAFETY: takes no pointer and changes nothing.
    if unsafe { libc::fcntl(1, libc::F_GETFD) } != libc::FD_CLOEXEC {
        eprintln!("not marked");
    }
    let shim = ShimSpawner::new("/bin/sh")
        .args(["-c", "echo out; echo err >&2"])
        .spawn()
        .expect("spawn");
    let exit = shim.child.process().wait().expect("poll");
    assert!(exit.status.expect("own child").success());
    exports
}
