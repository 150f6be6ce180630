//! What an alert can make scripted plugins do, as its label says. Knows no plugin.

use donjon_core::batch::Cell;

/// What an alert makes a plugin do, by its label `mischief`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mischief {
    /// The enricher breaks on it.
    EnricherTraps,
    /// The enricher wants to change what it may not, and answers what is no JSON.
    EnricherLies,
    /// The enricher answers far too much.
    EnricherBloats,
    /// The correlator breaks on it.
    CorrelatorTraps,
    /// The correlator speaks for rules that do not exist and for branches that rules do not have.
    CorrelatorLies,
    /// The correlator cannot evaluate its rules.
    RulesFail,
}

impl Mischief {
    pub const ALL: [Mischief; 6] = [
        Mischief::EnricherTraps,
        Mischief::EnricherLies,
        Mischief::EnricherBloats,
        Mischief::CorrelatorTraps,
        Mischief::CorrelatorLies,
        Mischief::RulesFail,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Mischief::EnricherTraps => "enricher-traps",
            Mischief::EnricherLies => "enricher-lies",
            Mischief::EnricherBloats => "enricher-bloats",
            Mischief::CorrelatorTraps => "correlator-traps",
            Mischief::CorrelatorLies => "correlator-lies",
            Mischief::RulesFail => "rules-fail",
        }
    }

    /// What the label says.
    pub fn of(value: Option<Cell<'_>>) -> Option<Mischief> {
        let text = text(value)?;
        Mischief::ALL.into_iter().find(|mischief| mischief.as_str() == text)
    }
}

/// A value that is text.
pub fn text(value: Option<Cell<'_>>) -> Option<&str> {
    match value {
        Some(Cell::Text(text)) => Some(text),
        _ => None,
    }
}
