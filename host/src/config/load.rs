//! Reads the configuration and says in plain words what is wrong with it. Knows the layers, not the values.

use std::path::Path;

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format, Serialized, Toml};

use super::Config;
use crate::near;

/// Variables with our prefix that are not configuration keys.
const OTHER_VARIABLES: [&str; 4] = ["DONJON_URL", "DONJON_API_KEY", "DONJON_CONFIG", "DONJON_TOOLCHAIN_DIR"];

/// Tables in which there may be keys and passwords.
const SECRET_TABLES: [&str; 2] = ["auth", "plugins"];

/// The configuration is not usable; the text says where, what, and what is near.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key nobody knows.
    #[error("unknown configuration key{at}: {key}{hint}")]
    UnknownKey {
        /// The table or source.
        at: String,
        /// The key.
        key: String,
        /// The nearest known key.
        hint: String,
    },
    /// A value that does not fit.
    #[error("{0}")]
    Invalid(String),
}

/// Reads the configuration from a file (if any) and the environment.
///
/// # Errors
/// When the file cannot be read, a key is unknown or a value does not fit.
pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some(file) = file {
        if !file.is_file() {
            return Err(ConfigError::Invalid(format!(
                "configuration file not found: {}",
                file.display()
            )));
        }
        check_syntax(file)?;
        figment = figment.merge(Toml::file_exact(file));
    }
    check_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
    let config: Config = figment
        .merge(
            Env::prefixed("DONJON_")
                .filter(|name| name.as_str().contains("__"))
                .split("__"),
        )
        .extract()
        .map_err(|error| readable(&error))?;
    config.check()?;
    Ok(config)
}

/// Whether a file is TOML. The parser's own words quote the line, and a key may be in it: only the place is told.
fn check_syntax(file: &Path) -> Result<(), ConfigError> {
    let invalid = |what: String| ConfigError::Invalid(format!("{what}: {}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| invalid(format!("configuration file: {error}")))?;
    if let Err(error) = toml::from_str::<toml::Table>(&text) {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
        return Err(invalid(format!(
            "configuration value does not fit: not TOML at line {line}, column {column}; texts are written in quotes"
        )));
    }
    Ok(())
}

fn check_variables(names: impl Iterator<Item = String>) -> Result<(), ConfigError> {
    for name in names {
        let ours = name.starts_with("DONJON_") && !name.starts_with("DONJON_TEST_") && !name.contains("__");
        if ours && !OTHER_VARIABLES.contains(&name.as_str()) {
            let hint = "; section and key are joined by two underscores, like DONJON_SERVER__LISTEN".to_owned();
            return Err(ConfigError::UnknownKey {
                at: " in the environment".into(),
                key: name,
                hint,
            });
        }
    }
    Ok(())
}

fn readable(error: &figment::Error) -> ConfigError {
    let table = error.path.join(".");
    let at = if table.is_empty() {
        String::new()
    } else {
        format!(" in [{table}]")
    };
    match &error.kind {
        Kind::UnknownField(key, known) => {
            // figment puts the unknown key at the end of the path.
            let table = error
                .path
                .iter()
                .take_while(|part| *part != key)
                .cloned()
                .collect::<Vec<_>>()
                .join(".");
            let at = if table.is_empty() {
                String::new()
            } else {
                format!(" in [{table}]")
            };
            ConfigError::UnknownKey {
                at,
                key: key.clone(),
                hint: nearest(key, known),
            }
        }
        _ => {
            let source = error.metadata.as_ref().map(|source| source.name.to_string());
            let source = source.unwrap_or_default();
            let what = if error
                .path
                .first()
                .is_some_and(|table| SECRET_TABLES.contains(&table.as_str()))
            {
                without_value(&error.kind)
            } else {
                error.kind.to_string()
            };
            ConfigError::Invalid(format!("configuration value does not fit{at}: {what} ({source})"))
        }
    }
}

/// What does not fit, without the value itself: it may be a key in a wrong place.
fn without_value(kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => format!("expected {expected}"),
        Kind::UnknownVariant(_, known) => format!("expected one of {}", known.join(", ")),
        Kind::MissingField(field) => format!("missing field `{field}`"),
        Kind::DuplicateField(field) => format!("field given twice: `{field}`"),
        _ => "it has another form than expected".to_owned(),
    }
}

fn nearest(key: &str, known: &[&str]) -> String {
    match near::nearest(key, known.iter().copied()) {
        Some(best) => format!("; did you mean `{best}`?"),
        None => format!("; known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::REFERENCE;
    use super::*;

    fn check(toml: &str, expected: Result<(), &str>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("donjon.toml");
        std::fs::write(&file, toml).unwrap();
        match (load(Some(&file)), expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{toml}: {error}"),
            (Ok(_), Err(part)) => panic!("{toml}: accepted, wanted: {part}"),
            (Err(error), Ok(())) => panic!("{toml}: {error}"),
        }
    }

    /// All tables and keys of a configuration, as `table.key`.
    fn keys_of(toml: &str) -> Vec<String> {
        let tables: toml::Table = toml.parse().unwrap();
        let keys = |(table, value): (&String, &toml::Value)| -> Vec<String> {
            let keys = value.as_table().unwrap().keys();
            keys.map(|key| format!("{table}.{key}")).collect()
        };
        tables.iter().flat_map(keys).collect()
    }

    #[test]
    fn the_reference_is_the_defaults_and_names_every_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("donjon.toml");
        let shown = |config: &Config| toml::to_string(config).unwrap();
        std::fs::write(&file, REFERENCE).unwrap();
        assert_eq!(shown(&load(Some(&file)).unwrap()), shown(&Config::default()));

        // Everything that is commented out, taken in: still understood, and nothing is left out.
        let lines = REFERENCE.lines().map(|line| match line.strip_prefix("# ") {
            Some(code)
                if code.starts_with('[') || code.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) =>
            {
                code
            }
            _ => line,
        });
        let all: String = lines.flat_map(|line| [line, "\n"]).collect();
        let all = all.replace("mode = \"none\"", "mode = \"api_key\"");
        std::fs::write(&file, &all).unwrap();
        let config = load(Some(&file)).unwrap();
        assert_eq!((config.auth.keys.len(), config.plugins.len()), (1, 1), "{all}");
        let named = keys_of(&all);
        for key in keys_of(&shown(&config)) {
            assert!(named.contains(&key), "{key} is not in the reference");
        }
    }

    #[test]
    fn configuration_errors_name_the_place_and_the_nearest_key() {
        check("", Ok(()));
        check("[server]\nlisten = \"127.0.0.1:0\"", Ok(()));
        check("[server]\nlisten = \"0.0.0.0:80\"", Err("others can reach"));
        check(
            "[server]\nlisen = \"127.0.0.1:0\"",
            Err("in [server]: lisen; did you mean `listen`?"),
        );
        check(
            "[sever]\n",
            Err("unknown configuration key: sever; did you mean `server`?"),
        );
        check("[storage]\ndurability = \"never\"", Err("in [storage.durability]"));
        check("[auth]\nmode = \"api_key\"", Err("no [[auth.keys]] entry"));
        let key =
            |name: &str| format!("[[auth.keys]]\nname = \"{name}\"\nkey = \"k\"\ntenant = \"t\"\nrole = \"admin\"\n");
        let keys = format!("{}{}", key("one"), key("two"));
        check(&keys, Err("two entries have the same key: one and two"));
        check(&key("one"), Err("which asks for no key"));
        check(
            "[storage]\ncache_bytes = 0",
            Err("storage.cache_bytes must be at least 1048576"),
        );
        check("[log]\nfilter = \"donjon=loud\"", Err("log.filter does not parse"));
        check("[plugins.x]\ngrants = [\"network\"]", Err("unknown capability network"));
        check(
            "[[auth.keys]]\nname = \"a\"\ntenant = \"t\"\nrole = \"admin\"",
            Err("exactly one of"),
        );
        check(
            "[[auth.keys]]\nname = \"a\"\nkey_file = \"/none\"\ntenant = \"t\"\nrole = \"noc\"",
            Err("/none"),
        );
        check("[ingest]\nmax_items = 0", Err("above zero: ingest.max_items"));
        check("this is not toml", Err("does not fit"));
        check(
            "[plugins.rules]\ngrants = [\"kv\"]\n[plugins.rules.config]\nanything = 1",
            Ok(()),
        );
    }

    #[test]
    fn variables_without_a_section_are_refused() {
        assert!(
            check_variables(
                ["DONJON_SERVER__LISTEN", "DONJON_URL", "HOME"]
                    .map(String::from)
                    .into_iter()
            )
            .is_ok()
        );
        let error = check_variables(["DONJON_LISTEN".to_owned()].into_iter()).unwrap_err();
        assert!(error.to_string().contains("DONJON_LISTEN"));
    }
}
