//! A program that was started with the variable of a link in its environment, and adopts what it is
//! told to.

use std::process::ExitCode;

use watchdog_pipe::{AdoptError, ENV_VAR};
use workspace_tests::inherited::{
    everything, from_env, not_supervised, then_a_good_one_is_adopted,
};
use workspace_tests::orders::Order;

fn main() -> ExitCode {
    Order::obey(|order| match order {
        Order::AdoptOneOfTwo => {
            let before = everything();
            assert!(matches!(from_env(), Err(AdoptError::SetTwice)));
            assert_eq!(everything(), before);
            // Setting it once leaves one.
            then_a_good_one_is_adopted(50);
            ExitCode::SUCCESS
        }
        Order::AdoptNothing => {
            not_supervised(std::env::var(ENV_VAR).expect("inherited"));
            ExitCode::SUCCESS
        }
        other => panic!("not for this program: {other:?}"),
    })
}
