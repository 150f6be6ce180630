//! What a plugin can do, and which of that one file does: one role or several. Knows no component.

use std::fmt;

/// One thing that a plugin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Says which alerts belong together.
    Correlator,
    /// Adds attributes to alerts.
    Enricher,
    /// Stores and searches alerts.
    Archiver,
    /// Runs commands for a person.
    Exporter,
}

impl Role {
    /// All there are, in the order in which they are named.
    pub const ALL: [Role; 4] = [Role::Correlator, Role::Enricher, Role::Archiver, Role::Exporter];

    /// The word for people and interfaces.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Correlator => "correlator",
            Role::Enricher => "enricher",
            Role::Archiver => "archiver",
            Role::Exporter => "exporter",
        }
    }

    pub(crate) fn of_interface(name: &str) -> Option<Role> {
        match name {
            "correlation" => Some(Role::Correlator),
            "enrichment" => Some(Role::Enricher),
            "archive" => Some(Role::Archiver),
            "commands" => Some(Role::Exporter),
            _ => None,
        }
    }

    fn bit(self) -> u8 {
        match self {
            Role::Correlator => 1,
            Role::Enricher => 2,
            Role::Archiver => 4,
            Role::Exporter => 8,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The roles of one plugin.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Whether it has this role.
    #[must_use]
    pub fn contains(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each once, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }

    /// The words for people and interfaces.
    #[must_use]
    pub fn words(self) -> Vec<&'static str> {
        self.iter().map(Role::as_str).collect()
    }
}

impl From<Role> for Roles {
    fn from(role: Role) -> Roles {
        Roles(role.bit())
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Roles {
        Roles(roles.into_iter().fold(0, |bits, role| bits | role.bit()))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// For people: `correlator, enricher`.
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_is_there_once_and_in_one_order() {
        let both: Roles = [Role::Enricher, Role::Correlator, Role::Enricher].into_iter().collect();
        assert_eq!(both.words(), ["correlator", "enricher"]);
        assert_eq!(both.to_string(), "correlator, enricher");
        assert_eq!(Role::ALL.map(|role| both.contains(role)), [true, true, false, false]);
        assert!(Roles::default().is_empty() && !both.is_empty());
        let all: Roles = Role::ALL.into_iter().collect();
        assert!(all.iter().eq(Role::ALL), "{all:?}");
        assert_eq!(Roles::from(Role::Archiver).to_string(), "archiver");
    }
}
