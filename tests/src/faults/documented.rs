//! What the documentation says of faults that are no errors, or that come as errors of another
//! number.

use super::scenario::Scenario;
use super::spec::Fault;
use super::told::Refusal;

/// Why a fact may be another one under this fault.
#[must_use]
pub fn fallback(
    _scenario: &Scenario,
    _fault: &Fault,
    _fact: &str,
    _clean: &str,
    _seen: &str,
) -> Option<&'static str> {
    None
}

/// Why an error may have another number than the fault.
#[must_use]
pub fn error(_scenario: &Scenario, _fault: &Fault, _refusal: &Refusal) -> Option<&'static str> {
    None
}
