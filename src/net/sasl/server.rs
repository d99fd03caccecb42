//! Letting somebody log in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hmac::{Hmac, Mac};
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::prelude::{
    Mechname, MessageSent, SASLConfig, SASLServer, Session, SessionError, State, Validation,
};
use rsasl::property::{AuthId, AuthzId, Password};
use rsasl::validate::{Validate, ValidationError};
use sha2::Sha256;

use crate::net::random::{self, NoRandomness};
use crate::net::users::{Hash, Users, same};

/// How many verified passwords are remembered.
const REMEMBERED: usize = 256;

/// Who may log in, and what was verified lately.
///
/// Backends log in anew for every operation, and a SCRAM verifier is slow on purpose; so a PLAIN password that
/// was verified once is remembered as a keyed hash: in memory only, under a key made at start.
pub struct Gate {
    users: RwLock<Arc<Users>>,
    key: [u8; 32],
    verified: Mutex<HashMap<String, [u8; 32]>>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("users", &self.users().len()).finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate for these users.
    pub fn new(users: Users) -> Result<Self, NoRandomness> {
        Ok(Self { users: RwLock::new(Arc::new(users)), key: random::bytes()?, verified: Mutex::default() })
    }

    /// From now on these may log in, with these passwords.
    pub fn replace(&self, users: Users) {
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn users(&self) -> Arc<Users> {
        self.users.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The mechanisms to offer. PLAIN shows the password to whoever listens, so only where that is nobody, or
    /// is accepted.
    pub fn mechanisms(&self, plain: bool) -> Vec<&'static str> {
        let scram = Hash::ALL.into_iter().rev().map(Hash::mechanism);
        scram.chain(plain.then_some("PLAIN")).collect()
    }

    fn keyed(&self, password: &str) -> Option<[u8; 32]> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.key).ok()?;
        mac.update(password.as_bytes());
        Some(mac.finalize().into_bytes().into())
    }

    fn check(&self, user: &str, password: &str) -> bool {
        let keyed = self.keyed(password);
        let remembered = self.verified.lock().unwrap_or_else(PoisonError::into_inner).get(user).copied();
        if let (Some(keyed), Some(remembered)) = (keyed, remembered)
            && same(&keyed, &remembered)
        {
            return true;
        }
        let users = self.users();
        let right = users.check(user, password);
        if right && let Some(keyed) = keyed {
            let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
            if !Arc::ptr_eq(&users, &self.users()) {
                return right; // replaced meanwhile: not to be remembered
            }
            if verified.len() >= REMEMBERED {
                verified.clear();
            }
            verified.insert(user.to_owned(), keyed);
        }
        right
    }
}

/// Why somebody did not get in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The mechanism is not offered here.
    #[error("no mechanism available")]
    NoMechanism,
    /// Wrong user or password, or somebody else was asked for; the client learns no more than that.
    #[error("authentication failure")]
    Failed,
}

/// What follows from one message of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this challenge and wait for the answer.
    Challenge(Vec<u8>),
    /// Send this last message, whose answer is empty; then this user is logged in.
    Last(Vec<u8>, String),
    /// This user is logged in.
    Done(String),
}

struct WhoIsIt;

impl Validation for WhoIsIt {
    type Value = String;
}

struct Callback(Arc<Gate>);

impl Callback {
    fn identify(context: &Context<'_>) -> Option<String> {
        let user = context.get_ref::<AuthId>()?;
        // Acting for somebody else is not a thing between MUPDATE servers.
        let other = context.get_ref::<AuthzId>().is_some_and(|wanted| !wanted.is_empty() && wanted != user);
        (!other).then(|| user.to_owned())
    }
}

impl SessionCallback for Callback {
    fn callback(
        &self,
        session: &SessionData,
        context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        let mechanism = session.mechanism().mechanism.as_str();
        let hash = Hash::ALL.into_iter().find(|hash| hash.mechanism() == mechanism);
        let users = self.0.users();
        if let (Some(hash), Some(user)) = (hash, context.get_ref::<AuthId>())
            && let Some(v) = users.verifier(user, hash)
        {
            let stored = ScramStoredPassword::new(v.iterations, &v.salt, &v.stored_key, &v.server_key);
            request.satisfy::<ScramStoredPassword<'_>>(&stored)?;
        }
        Ok(())
    }

    fn validate(
        &self,
        session: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        let user = Self::identify(context).filter(|user| {
            // With SCRAM the exchange itself is the proof; PLAIN brings the password.
            session.mechanism().mechanism.as_str() != "PLAIN"
                || context
                    .get_ref::<Password>()
                    .and_then(|password| std::str::from_utf8(password).ok())
                    .is_some_and(|password| self.0.check(user, password))
        });
        if let Some(user) = user {
            validate.finalize::<WhoIsIt>(user);
        }
        Ok(())
    }
}

/// A mechanism's name for the log, if it is one of ours: anything else may be a password in the wrong place.
pub fn known(mechanism: &[u8]) -> &'static str {
    let mut ours = Hash::ALL.into_iter().map(Hash::mechanism).chain(["PLAIN"]);
    ours.find(|name| name.as_bytes().eq_ignore_ascii_case(mechanism)).unwrap_or("another")
}

/// One login under way.
pub struct Login {
    session: Session<WhoIsIt>,
}

impl Login {
    /// Begins with the mechanism that the client chose.
    pub fn start(gate: &Arc<Gate>, mechanism: &[u8], plain: bool) -> Result<Self, Denied> {
        let wanted = mechanism.to_ascii_uppercase();
        if !gate.mechanisms(plain).iter().any(|offered| offered.as_bytes() == wanted) {
            return Err(Denied::NoMechanism);
        }
        let config = SASLConfig::builder()
            .with_defaults()
            .with_callback(Callback(gate.clone()))
            .map_err(|_| Denied::NoMechanism)?;
        let name = Mechname::parse(&wanted).map_err(|_| Denied::NoMechanism)?;
        let session =
            SASLServer::<WhoIsIt>::new(config).start_suggested(name).map_err(|_| Denied::NoMechanism)?;
        Ok(Self { session })
    }

    /// Takes a message of the client; `None` when it sent no initial response.
    pub fn step(&mut self, message: Option<&[u8]>) -> Result<Step, Denied> {
        // All mechanisms here speak first; without an initial response the first challenge is empty.
        let Some(message) = message else { return Ok(Step::Challenge(Vec::new())) };
        let mut out = Vec::new();
        let state = self.session.step(Some(message), &mut out).map_err(|_| Denied::Failed)?;
        match state {
            State::Running => Ok(Step::Challenge(out)),
            State::Finished(sent) => {
                let user = self.session.validation().ok_or(Denied::Failed)?;
                Ok(match sent {
                    MessageSent::Yes if !out.is_empty() => Step::Last(out, user),
                    _ => Step::Done(user),
                })
            }
        }
    }
}
