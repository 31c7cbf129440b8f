use moqgate_core::Secret;

use super::{Login, LoginError};

fn login() -> Login {
    Login::new("joe".to_owned(), Secret::new("s3cret"))
}

const NEEDED: &str = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";
const QUESTION: &str =
    "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&user=joe&salt=abc&challenge=chal";

#[test]
fn the_answer_is_the_one_of_adobe() {
    let mut login = login();
    assert_eq!(login.query(), "");
    login.refused(NEEDED, 1).expect("a question");
    assert_eq!(login.query(), "?authmod=adobe&user=joe");
    let mut opaque = login.clone();
    login.refused(QUESTION, 0x2a).expect("a question");
    assert_eq!(login.query(), "?authmod=adobe&user=joe&challenge=0000002a&response=urvLQGqjSL747WmCsLz+7Q==");
    opaque.refused(&format!("{QUESTION}&opaque=XYZ="), 0x2a).expect("a question");
    assert_eq!(
        opaque.query(),
        "?authmod=adobe&user=joe&challenge=0000002a&response=B26KGoiekoUthOVZuRPyAw==&opaque=XYZ="
    );
}

#[test]
fn an_answer_is_given_once() {
    let mut login = login();
    login.refused(NEEDED, 1).expect("a question");
    assert_eq!(login.clone().refused(NEEDED, 1), Err(LoginError::Denied));
    login.refused(QUESTION, 1).expect("a question");
    assert_eq!(login.refused(QUESTION, 1), Err(LoginError::Denied));
    let failed = QUESTION.replace("needauth", "authfailed");
    assert_eq!(login.refused(&failed, 1), Err(LoginError::Denied));
}

#[test]
fn other_refusals_are_not_answered() {
    assert_eq!(login().refused("no such application", 1), Err(LoginError::NotAsked));
    assert_eq!(login().refused("code=403 need auth; authmod=llnw", 1), Err(LoginError::Unknown));
}
