//! Taking on the child's end: what is refused, with which error, and that nothing is touched then.

use workspace_tests::scenario::passes;

fn adoption(scenario: &str) {
    passes(env!("CARGO_BIN_EXE_watchdog_adopt"), scenario);
}

#[test]
fn process_without_the_variable_is_not_supervised() {
    adoption("none");
}

// cases.md: "wrong number, closed number, write end, regular file, socket in the variable; variable set twice /
// from_env / typed error"; pitfalls.md: "child and parent agree on 'fd 3' by convention", "a configuration error
// is a typed error at adoption". Every one of these checks that nothing was closed or changed, and that a later
// call works.

#[test]
fn malformed_value_is_refused() {
    adoption("malformed");
}

#[test]
fn variable_that_is_set_twice_is_refused() {
    adoption("twice");
}

#[test]
fn variable_that_names_a_closed_number_is_not_for_this_process() {
    adoption("closed");
}

#[test]
fn write_end_is_refused() {
    adoption("write-end");
}

#[test]
fn regular_file_socket_and_device_are_refused() {
    adoption("other-types");
}

#[test]
fn fifo_that_was_opened_for_both_is_refused() {
    adoption("read-write");
}

#[test]
fn descriptor_that_only_names_the_pipe_is_refused() {
    adoption("path-only");
}

// cases.md: "grandchild with the inherited variable and an unrelated descriptor 3 / from_env"; pitfalls.md has the same
// row. It is not supervised, and that is no error.

#[test]
fn variable_that_names_another_pipe_is_not_for_this_process() {
    adoption("another-pipe");
}

#[test]
fn grandchild_does_not_claim_its_own_unrelated_descriptor() {
    adoption("grandchild");
}

// pitfalls.md: "the child refuses adoption if it holds a writer itself".

#[test]
fn process_that_holds_a_writer_itself_is_refused() {
    adoption("writer");
}

#[test]
fn writer_of_another_pipe_is_no_hindrance() {
    adoption("writer-elsewhere");
}

#[test]
fn writer_is_found_without_proc_and_adoption_works() {
    adoption("no-proc");
}

// pitfalls.md: "claimed once; then CLOEXEC".
#[test]
fn second_adoption_is_refused_even_when_the_first_watchdog_is_gone() {
    adoption("claimed");
}

// design.md: "Errors": nothing is claimed where a system call fails.

#[test]
fn adoption_without_a_free_descriptor_is_an_error_and_can_be_repeated() {
    adoption("no-descriptor");
}

#[test]
fn adoption_without_an_epoll_watch_is_an_error_and_can_be_repeated() {
    adoption("no-watch");
}

#[test]
fn descriptor_of_a_protocol_of_ones_own_is_checked_too() {
    adoption("descriptor");
}

#[test]
fn standard_number_can_be_adopted() {
    adoption("standard");
}

#[test]
fn policy_and_keys_of_a_newer_version_are_read() {
    adoption("policy");
}
