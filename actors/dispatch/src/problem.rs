//! What is to be planned: technicians with homes, skills, tools and parts; requests with windows.
//!
//! Time is counted in whole ticks, of a length that whoever builds the problem chooses; travel comes
//! in as a function, so that streets and straight lines are planned alike. Places are numbered: the
//! depot, then the homes, then the sites.
//!
//! **Invariants:** a [`Problem`] that exists is complete and consistent; sums over a day of its
//! times do not overflow. **Not here:** the file format (`instance`), what a plan is (`plan`).

/// A point or a length of time.
pub type Ticks = i64;

/// No time of a problem is beyond this: a sum of a thousand such lengths fits, with the penalties.
pub const TICKS_MAX: Ticks = 1 << 44;
/// Kinds of skills, of tools and of parts that a problem may tell apart: the bits of a set.
pub const KINDS_MAX: usize = 64;
/// Technicians and requests together: their travel times are a square table in memory.
pub const PLACES_MAX: usize = 4096;
/// The place where tools and parts are replenished.
pub(crate) const DEPOT: usize = 0;

/// A set of kinds of skills or tools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds(u64);

impl Kinds {
    /// None if a kind is not below [`KINDS_MAX`].
    pub fn of(kinds: impl IntoIterator<Item = usize>) -> Option<Self> {
        kinds.into_iter().try_fold(Self::default(), |set, kind| {
            (kind < KINDS_MAX).then_some(Self(set.0 | 1 << kind))
        })
    }

    pub fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Of these those that `other` lacks.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..KINDS_MAX).filter(move |kind| self.0 >> kind & 1 == 1)
    }
}

/// When something may begin, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub open: Ticks,
    pub close: Ticks,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Technician {
    /// The number it has outside.
    pub id: u32,
    /// Leaves home not before it opens, is home again not after it closes.
    pub shift: Window,
    pub skills: Kinds,
    pub tools: Kinds,
    /// How many of each kind it carries at the start.
    pub parts: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The number it has outside.
    pub id: u32,
    /// When the service may begin.
    pub window: Window,
    pub service: Ticks,
    pub skills: Kinds,
    pub tools: Kinds,
    /// How many of each kind it takes.
    pub parts: Vec<u32>,
    /// Who may do it at all, by the technicians' positions; everybody with the skills unless said.
    pub only: Option<Box<[bool]>>,
    /// What it is worth to be served, in those that are worth 1: as many of them are left out for it.
    pub weight: u32,
    /// What it is worth that a certain technician does it, by their positions, in ticks of a longer day.
    pub favours: Option<Box<[Ticks]>>,
}

/// Where tools and parts are replenished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depot {
    pub window: Window,
    /// How long a stop takes.
    pub service: Ticks,
}

/// A place of a problem, by the position of its owner in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Depot,
    Home(usize),
    Site(usize),
}

/// Why technicians and requests are not a problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemError {
    #[error("{0} technicians and requests are more than {PLACES_MAX}")]
    TooLarge(usize),
    #[error("{whose} has a time outside of 0 to {TICKS_MAX} ticks")]
    Time { whose: String },
    #[error("{whose} has a window that closes before it opens")]
    Window { whose: String },
    #[error("request {0} is worth nothing, or a favour more than any day")]
    Worth(u32),
    #[error("{whose} counts {found} kinds of parts, others {expected}")]
    Parts { whose: String, found: usize, expected: usize },
}

/// Technicians, requests and the travel times between all places.
#[derive(Debug, Clone)]
pub struct Problem {
    depot: Depot,
    technicians: Vec<Technician>,
    requests: Vec<Request>,
    travel: Vec<Ticks>,
}

impl Problem {
    /// Asks `travel` for each pair of places. A plan is looked for as if no detour were shorter.
    pub fn new(
        depot: Depot,
        technicians: Vec<Technician>,
        requests: Vec<Request>,
        travel: impl Fn(Place, Place) -> Ticks,
    ) -> Result<Self, ProblemError> {
        let owners = technicians.len() + requests.len();
        if owners >= PLACES_MAX {
            return Err(ProblemError::TooLarge(owners));
        }
        let place = |number: usize| match number.checked_sub(1) {
            None => Place::Depot,
            Some(home) if home < technicians.len() => Place::Home(home),
            Some(site) => Place::Site(site - technicians.len()),
        };
        let places = owners + 1;
        let table = (0..places * places)
            .map(|pair| travel(place(pair / places), place(pair % places)))
            .collect();
        let problem = Self { depot, technicians, requests, travel: table };
        problem.checked()
    }

    fn checked(self) -> Result<Self, ProblemError> {
        let in_range = |ticks: Ticks| (0..=TICKS_MAX).contains(&ticks);
        let check = |whose: &dyn Fn() -> String, window: Window, service: Ticks| {
            if !(in_range(window.open) && in_range(window.close) && in_range(service)) {
                return Err(ProblemError::Time { whose: whose() });
            }
            if window.close < window.open {
                return Err(ProblemError::Window { whose: whose() });
            }
            Ok(())
        };
        let kinds = self.parts_kinds();
        let count = |whose: &dyn Fn() -> String, found: usize| {
            let error = || ProblemError::Parts { whose: whose(), found, expected: kinds };
            if found == kinds { Ok(()) } else { Err(error()) }
        };
        check(&|| "the depot".to_owned(), self.depot.window, self.depot.service)?;
        for technician in &self.technicians {
            let whose = || format!("technician {}", technician.id);
            check(&whose, technician.shift, 0)?;
            count(&whose, technician.parts.len())?;
        }
        for request in &self.requests {
            let whose = || format!("request {}", request.id);
            check(&whose, request.window, request.service)?;
            count(&whose, request.parts.len())?;
            let favours = request.favours.as_deref().unwrap_or_default();
            if request.weight == 0 || !favours.iter().all(|ticks| in_range(*ticks)) {
                return Err(ProblemError::Worth(request.id));
            }
        }
        if self.travel.iter().all(|ticks| in_range(*ticks)) {
            Ok(self)
        } else {
            Err(ProblemError::Time { whose: "the way between two places".to_owned() })
        }
    }

    pub fn depot(&self) -> Depot {
        self.depot
    }

    pub fn technicians(&self) -> &[Technician] {
        &self.technicians
    }

    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    pub(crate) fn parts_kinds(&self) -> usize {
        let of_technician = self.technicians.first().map(|technician| technician.parts.len());
        let of_request = || self.requests.first().map(|request| request.parts.len());
        of_technician.or_else(of_request).unwrap_or(0)
    }

    pub(crate) fn home(&self, technician: usize) -> usize {
        1 + technician
    }

    pub(crate) fn site(&self, request: usize) -> usize {
        1 + self.technicians.len() + request
    }

    /// The request at a place, if it is a site.
    pub(crate) fn request_at(&self, place: usize) -> Option<usize> {
        place.checked_sub(1 + self.technicians.len())
    }

    pub(crate) fn travel(&self, from: usize, to: usize) -> Ticks {
        self.travel[from * (1 + self.technicians.len() + self.requests.len()) + to]
    }

    /// What it is worth that just this one does it.
    pub(crate) fn favour(&self, technician: usize, request: usize) -> Ticks {
        let favours = self.requests[request].favours.as_deref();
        favours.and_then(|favours| favours.get(technician)).copied().unwrap_or(0)
    }

    /// Whether somebody with these skills could do it at all, were it day-long and everything at hand.
    pub(crate) fn is_skilled(&self, technician: usize, request: usize) -> bool {
        let wanted = &self.requests[request];
        let is_allowed = |only: &[bool]| only.get(technician).copied().unwrap_or(false);
        self.technicians[technician].skills.contains(wanted.skills)
            && wanted.only.as_deref().is_none_or(is_allowed)
    }
}
