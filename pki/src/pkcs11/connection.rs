//! The process's connection to a token: module, session, login.
//!
//! **Invariants:** a module is initialised once per process and never finalised; a live token has
//! one session here, used by one call at a time; a lost session is reopened once per call; after
//! the token has refused the PIN it is not tried again. **Not here:** what is asked of the token.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::MechanismType,
    object::{Attribute, AttributeType, ObjectClass, ObjectHandle},
    session::{Session, SessionState, UserType},
    slot::{Slot, TokenInfo},
    types::AuthPin,
};
use zeroize::Zeroizing;

use super::{TokenAddress, TokenError};

/// How many labels a message names.
const LABELS_MAX: usize = 16;

/// C_Initialize and C_Login count per process (PKCS#11 v3.1 §5.4 and §5.6.8), and so does this.
static MODULES: Mutex<BTreeMap<String, Module>> = Mutex::new(BTreeMap::new());

struct Module {
    pkcs11: Pkcs11,
    /// By label and serial number.
    tokens: BTreeMap<(String, String), Weak<Connection>>,
}

/// A logged-in token, shared by all keys in it.
pub(super) struct Connection {
    pkcs11: Pkcs11,
    address: TokenAddress,
    pin: Zeroizing<String>,
    line: Mutex<Line>,
}

struct Line {
    live: Option<Live>,
    epoch: u64,
    refused: Option<TokenError>,
}

/// A session that was good when last used.
pub(super) struct Live {
    pub(super) session: Session,
    slot: Slot,
    /// Grows with each reopening: object handles are good for one.
    epoch: u64,
}

/// Why a call did not succeed.
pub(super) enum Fault {
    /// The session is gone: with another one it may succeed.
    Lost(TokenError),
    Told(TokenError),
}

impl From<TokenError> for Fault {
    fn from(error: TokenError) -> Self {
        Self::Told(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        use RvError as Rv;
        match &error {
            Error::Pkcs11(
                Rv::SessionHandleInvalid
                | Rv::SessionClosed
                | Rv::DeviceRemoved
                | Rv::DeviceError
                | Rv::TokenNotPresent
                | Rv::UserNotLoggedIn
                | Rv::CryptokiNotInitialized
                // Objects of a session that is gone, and what a failed call left behind.
                | Rv::KeyHandleInvalid
                | Rv::ObjectHandleInvalid
                | Rv::OperationActive,
                _,
            ) => Self::Lost(told(error)),
            _ => Self::Told(told(error)),
        }
    }
}

fn told(error: Error) -> TokenError {
    match error {
        Error::Pkcs11(answer, call) => {
            TokenError::Call { call: format!("C_{call:?}"), answer: format!("{answer:?}") }
        }
        other => TokenError::Call { call: "a call".to_owned(), answer: other.to_string() },
    }
}

/// A panic elsewhere leaves nothing half done here: each call ends its own operation.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Also after somebody else in the process has finalised the module.
fn initialize(pkcs11: &Pkcs11) -> Result<(), Error> {
    match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        other => other,
    }
}

impl Module {
    fn load(path: &str) -> Result<Self, TokenError> {
        let pkcs11 = Pkcs11::new(path).map_err(|error| TokenError::Module {
            module: path.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self { pkcs11, tokens: BTreeMap::new() })
    }
}

fn find_token(pkcs11: &Pkcs11, address: &TokenAddress) -> Result<(Slot, TokenInfo), TokenError> {
    // One slot in trouble does not hide the others.
    let slots = pkcs11.get_slots_with_token().map_err(told)?;
    let tokens =
        slots.into_iter().filter_map(|slot| Some((slot, pkcs11.get_token_info(slot).ok()?)));
    let (mut found, mut present) = (None, Vec::new());
    for (slot, info) in tokens {
        let serial = address.serial.as_deref();
        if info.label() != address.token_label
            || serial.is_some_and(|serial| serial != info.serial_number())
        {
            present.push(info.label().to_owned());
        } else if found.replace((slot, info)).is_some() {
            return Err(TokenError::SeveralTokens(address.to_string()));
        }
    }
    present.retain(|label| !label.is_empty());
    present.truncate(LABELS_MAX);
    found.ok_or_else(|| TokenError::NoSuchToken { address: address.to_string(), present })
}

/// Tries the PIN once; says whether the process was logged in and the PIN was not tried at all.
fn login(session: &Session, token: &str, pin: &str) -> Result<bool, TokenError> {
    match session.login(UserType::User, Some(&AuthPin::new(pin.into()))) {
        Ok(()) => Ok(false),
        Err(Error::Pkcs11(answer, call)) => match answer {
            RvError::UserAlreadyLoggedIn => Ok(true),
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => {
                Err(TokenError::WrongPin(token.to_owned()))
            }
            RvError::PinLocked => Err(TokenError::Locked(token.to_owned())),
            answer => Err(told(Error::Pkcs11(answer, call))),
        },
        Err(error) => Err(told(error)),
    }
}

/// Logs in with a PIN that nothing is known of.
fn first_login(session: &Session, info: &TokenInfo, pin: &str) -> Result<(), TokenError> {
    let token = info.label();
    if info.user_pin_locked() {
        return Err(TokenError::Locked(token.to_owned()));
    }
    // A service that restarts by itself must not be what locks the token.
    if info.user_pin_final_try() {
        return Err(TokenError::LastTry(token.to_owned()));
    }
    if login(session, token, pin)? {
        // Left by a session that is being closed. The PIN must be the token's all the same.
        session.logout().map_err(told)?;
        login(session, token, pin)?;
    }
    Ok(())
}

impl Connection {
    /// The connection to the address's token, made where the process has none.
    pub(super) fn open(
        address: &TokenAddress,
        pin: &Zeroizing<String>,
    ) -> Result<Arc<Self>, TokenError> {
        let mut modules = lock(&MODULES);
        let module = match modules.entry(address.module.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Module::load(&address.module)?),
        };
        initialize(&module.pkcs11).map_err(told)?;
        let (slot, info) = find_token(&module.pkcs11, address)?;
        let name = (info.label().to_owned(), info.serial_number().to_owned());
        if let Some(known) = module.tokens.get(&name).and_then(Weak::upgrade)
            && lock(&known.line).live.is_some()
        {
            return match verify_slices_are_equal(known.pin.as_bytes(), pin.as_bytes()) {
                Ok(()) => Ok(known),
                Err(_) => Err(TokenError::OtherPin(name.0)),
            };
        }
        let session = module.pkcs11.open_ro_session(slot).map_err(told)?;
        first_login(&session, &info, pin)?;
        // When reopened it must be the same token, not another of the same label.
        let address = TokenAddress { serial: Some(name.1.clone()), ..address.clone() };
        let live = Some(Live { session, slot, epoch: 0 });
        let connection = Arc::new(Self {
            pkcs11: module.pkcs11.clone(),
            address,
            pin: pin.clone(),
            line: Mutex::new(Line { live, epoch: 0, refused: None }),
        });
        module.tokens.insert(name, Arc::downgrade(&connection));
        Ok(connection)
    }

    /// Does one thing with the session; where that is gone, once more with a new one.
    pub(super) fn run<T>(&self, call: impl Fn(&Live) -> Result<T, Fault>) -> Result<T, TokenError> {
        let mut line = lock(&self.line);
        if let Some(live) = &line.live {
            match call(live) {
                Ok(done) => return Ok(done),
                Err(Fault::Told(error)) => return Err(error),
                Err(Fault::Lost(_)) => line.live = None,
            }
        }
        let live = self.reopen(&mut line)?;
        match call(live) {
            Ok(done) => Ok(done),
            Err(Fault::Told(error)) => Err(error),
            Err(Fault::Lost(error)) => {
                line.live = None;
                Err(TokenError::SessionLost(error.to_string()))
            }
        }
    }

    fn reopen<'line>(&self, line: &'line mut Line) -> Result<&'line Live, TokenError> {
        if let Some(refused) = &line.refused {
            return Err(refused.clone());
        }
        initialize(&self.pkcs11).map_err(told)?;
        let (slot, info) = find_token(&self.pkcs11, &self.address)?;
        let session = self.pkcs11.open_ro_session(slot).map_err(told)?;
        if let Err(error) = login(&session, info.label(), &self.pin) {
            let refused = matches!(error, TokenError::WrongPin(_) | TokenError::Locked(_));
            line.refused = refused.then(|| error.clone());
            return Err(error);
        }
        line.epoch += 1;
        Ok(line.live.insert(Live { session, slot, epoch: line.epoch }))
    }

    /// Refuses a token that does not offer one of these.
    pub(super) fn require(&self, live: &Live, mechanisms: &[MechanismType]) -> Result<(), Fault> {
        let offered = self.pkcs11.get_mechanism_list(live.slot)?;
        match mechanisms.iter().find(|mechanism| !offered.contains(mechanism)) {
            Some(missing) => Err(TokenError::MechanismMissing(missing.to_string()).into()),
            None => Ok(()),
        }
    }

    /// A session that may write, for the time of one call.
    pub(super) fn writer(&self, live: &Live) -> Result<Session, Error> {
        self.pkcs11.open_rw_session(live.slot)
    }
}

impl Live {
    /// The one key of its class at the address.
    pub(super) fn find(
        &self,
        class: ObjectClass,
        address: &TokenAddress,
    ) -> Result<ObjectHandle, Fault> {
        let of_class = [Attribute::Class(class), Attribute::Token(true)];
        let mut wanted = of_class.to_vec();
        wanted.push(Attribute::Label(address.key_label.clone().into_bytes()));
        wanted.extend(address.id.clone().map(Attribute::Id));
        match *self.session.find_objects(&wanted)? {
            [key] => Ok(key),
            // Who is logged out sees no private objects, and no error.
            [] if !self.is_logged_in()? => {
                let (call, answer) = ("C_GetSessionInfo".to_owned(), "logged out".to_owned());
                Err(Fault::Lost(TokenError::Call { call, answer }))
            }
            [] => {
                let present = self.labels(&of_class)?;
                Err(TokenError::NoSuchKey { address: address.to_string(), present }.into())
            }
            _ => Err(TokenError::SeveralKeys(address.to_string()).into()),
        }
    }

    fn is_logged_in(&self) -> Result<bool, Fault> {
        let state = self.session.get_session_info()?.session_state();
        Ok(matches!(state, SessionState::RoUser | SessionState::RwUser))
    }

    fn labels(&self, wanted: &[Attribute]) -> Result<Vec<String>, Fault> {
        let mut labels = Vec::new();
        for key in self.session.find_objects(wanted)?.into_iter().take(LABELS_MAX) {
            for attribute in self.session.get_attributes(key, &[AttributeType::Label])? {
                if let Attribute::Label(label) = attribute {
                    labels.push(String::from_utf8_lossy(&label).into_owned());
                }
            }
        }
        Ok(labels)
    }

    /// Refuses a label that one of these classes has, whatever its id.
    pub(super) fn refuse_existing(
        &self,
        classes: &[ObjectClass],
        address: &TokenAddress,
    ) -> Result<(), Fault> {
        for class in classes {
            let label = Attribute::Label(address.key_label.clone().into_bytes());
            let wanted = [Attribute::Class(*class), Attribute::Token(true), label];
            if !self.session.find_objects(&wanted)?.is_empty() {
                return Err(TokenError::KeyExists(address.to_string()).into());
            }
        }
        Ok(())
    }
}

/// A key's handle, kept for as long as the session in which it was found.
#[derive(Default)]
pub(super) struct Found(Mutex<Option<(u64, ObjectHandle)>>);

impl Found {
    pub(super) fn get(
        &self,
        live: &Live,
        find: impl FnOnce() -> Result<ObjectHandle, Fault>,
    ) -> Result<ObjectHandle, Fault> {
        let mut found = lock(&self.0);
        if let Some((epoch, key)) = *found
            && epoch == live.epoch
        {
            return Ok(key);
        }
        let key = find()?;
        *found = Some((live.epoch, key));
        Ok(key)
    }
}

/// What all keys made here have in common: they stay in the token, are shown to nobody, and only
/// sign.
pub(super) fn kept(address: &TokenAddress) -> Vec<Attribute> {
    let mut attributes = vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    attributes.extend(named(address));
    attributes
}

pub(super) fn named(address: &TokenAddress) -> impl Iterator<Item = Attribute> {
    let label = Attribute::Label(address.key_label.clone().into_bytes());
    [label].into_iter().chain(address.id.clone().map(Attribute::Id))
}
