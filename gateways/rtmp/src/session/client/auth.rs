//! User and password as the servers of Adobe ask for them: by refusing `connect`, twice, with what the next one has to
//! show in application and `tcUrl`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use moqgate_core::Secret;

/// A user, and how far the conversation is.
#[derive(Debug, Clone)]
pub struct Login {
    user: String,
    password: Secret,
    asked: Asked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Nothing,
    User,
    Answer { query: String },
}

/// Why a refusal cannot be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The refusal is no question for a user.
    #[error("the server does not ask for a user")]
    NotAsked,
    /// Another way to ask than Adobe's.
    #[error("the server asks for a user in a way that is not known")]
    Unknown,
    /// It was answered, and refused again.
    #[error("wrong user or password")]
    Denied,
}

impl Login {
    /// Nothing has been asked yet.
    pub fn new(user: String, password: Secret) -> Self {
        Self { user, password, asked: Asked::Nothing }
    }

    /// What the next `connect` has to show behind application and `tcUrl`.
    pub fn query(&self) -> String {
        match &self.asked {
            Asked::Nothing => String::new(),
            Asked::User => format!("?authmod=adobe&user={}", self.user),
            Asked::Answer { query } => query.clone(),
        }
    }

    /// Takes the words of a refusal; after this another connection may be made. `challenge` is any number that differs
    /// between connections.
    ///
    /// # Errors
    /// [`LoginError`]: there is no use in another attempt now.
    pub fn refused(&mut self, words: &str, challenge: u32) -> Result<(), LoginError> {
        if !words.contains("authmod=") {
            return Err(LoginError::NotAsked);
        }
        if !words.contains("authmod=adobe") {
            return Err(LoginError::Unknown);
        }
        let value = |key: &str| {
            let mut pairs = words.split(['?', '&', ' ', ']']).filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        match (value("reason"), &self.asked) {
            (None, Asked::Nothing) => self.asked = Asked::User,
            (Some("needauth"), Asked::Nothing | Asked::User) => {
                let salt = value("salt").unwrap_or_default();
                let theirs = value("opaque").or_else(|| value("challenge")).unwrap_or_default();
                self.asked = Asked::Answer { query: self.answer(salt, theirs, value("opaque"), challenge) };
            }
            _ => return Err(LoginError::Denied),
        }
        Ok(())
    }

    fn answer(&self, salt: &str, theirs: &str, opaque: Option<&str>, ours: u32) -> String {
        let hash = |text: &str| STANDARD.encode(Md5::digest(text.as_bytes()));
        let secret = hash(&format!("{}{salt}{}", self.user, self.password.expose()));
        let response = hash(&format!("{secret}{theirs}{ours:08x}"));
        let opaque = opaque.map(|opaque| format!("&opaque={opaque}")).unwrap_or_default();
        format!("?authmod=adobe&user={}&challenge={ours:08x}&response={response}{opaque}", self.user)
    }
}
