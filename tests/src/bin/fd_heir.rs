//! Claims the descriptors that its parent promised, as a program does that uses `inherited_fd`, and
//! answers on standard output what became of it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;

use fd_preserve::inherited_fd;
use rustix::io::{FdFlags, fcntl_getfd};
use workspace_tests::orders::Order;

fn main() -> ExitCode {
    Order::obey(|order| match order {
        Order::Claim { numbers } => {
            claim(&numbers);
            ExitCode::SUCCESS
        }
        other => panic!("not for this program: {other:?}"),
    })
}

fn claim(numbers: &[RawFd]) {
    for &number in numbers {
        // SAFETY: nothing here owns a descriptor yet; the test gives each number once.
        match unsafe { inherited_fd(number) } {
            Ok(fd) => {
                assert_eq!(fd.as_raw_fd(), number);
                assert_eq!(
                    fcntl_getfd(&fd),
                    Ok(FdFlags::CLOEXEC),
                    "it would go further"
                );
                let mut text = String::new();
                File::from(fd).read_to_string(&mut text).expect("read");
                println!("{number}: {text}");
            }
            Err(error) => println!("{error}"),
        }
    }
}
