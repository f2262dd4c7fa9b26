//! Where values come from: the environment over `.env` over the defaults.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::settings::{self, Fallback, Setting};
use super::{ConfigError, Machine, dotenv};

const ENVIRONMENT: &str = "the environment";
const FILE: &str = ".env";

/// What was given, by name, and the directories that paths begin from.
pub(super) struct Values {
    /// The installation, absolute.
    pub home: PathBuf,
    user_home: Option<PathBuf>,
    environment: HashMap<String, String>,
    file: HashMap<String, String>,
}

impl Values {
    /// Finds the installation, reads its `.env`, refuses unknown names.
    pub fn read(
        machine: &Machine,
        home: Option<PathBuf>,
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Values, ConfigError> {
        let mut environment = HashMap::new();
        let mut given_home = home;
        let mut user_home = machine.user_home.clone();
        for (name, value) in vars {
            let Some(name) = name.to_str().filter(|_| !value.is_empty()) else { continue };
            match name {
                "HOME" => user_home = Some(PathBuf::from(&value)),
                "NANOCLAW_HOME" => given_home = given_home.or(Some(PathBuf::from(&value))),
                _ => {}
            }
            let setting = settings::ALL.iter().find(|setting| setting.name == name);
            match (value.to_str(), setting) {
                (Some(text), _) => {
                    drop(environment.insert(name.to_owned(), text.trim().to_owned()))
                }
                (None, Some(setting)) if name != settings::NANOCLAW_HOME.name => {
                    return Err(invalid(setting, ENVIRONMENT, &value.to_string_lossy()));
                }
                (None, _) => {}
            }
        }
        environment.retain(|_, value| !value.is_empty());

        let home = machine.cwd.join(given_home.unwrap_or_default());
        let home = std::fs::canonicalize(&home)
            .and_then(|path| std::fs::read_dir(&path).map(|_| path))
            .map_err(|source| ConfigError::Home { path: home, source })?;
        let file = read_file(&home.join(".env"))?;
        if file.contains_key(settings::NANOCLAW_HOME.name) {
            return Err(ConfigError::HomeInEnvFile);
        }
        refuse_unknown(&environment, ENVIRONMENT)?;
        refuse_unknown(&file, FILE)?;
        Ok(Values { home, user_home, environment, file })
    }

    /// What each place says of `setting`.
    pub fn given(&self, setting: &Setting) -> [(&'static str, Option<&str>); 2] {
        [(ENVIRONMENT, &self.environment), (FILE, &self.file)]
            .map(|(place, values)| (place, values.get(setting.name).map(String::as_str)))
    }

    /// The checked value of a setting that has a default in the table.
    pub fn required<T>(
        &self,
        setting: &Setting,
        check: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let (place, text) = match (self.first(setting), setting.default) {
            (Some(given), _) => given,
            (None, Fallback::Value(value)) => ("the defaults", value),
            (None, Fallback::Found(_)) => ("the defaults", ""),
        };
        check(text).ok_or_else(|| invalid(setting, place, text))
    }

    /// The checked value of a setting that may be absent.
    pub fn optional<T>(
        &self,
        setting: &Setting,
        check: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((place, text)) = self.first(setting) else { return Ok(None) };
        check(text).map(Some).ok_or_else(|| invalid(setting, place, text))
    }

    /// A path as the owner wrote it, made absolute: `~/` is the user's home,
    /// anything else begins in the installation.
    pub fn path(&self, text: &str) -> Option<PathBuf> {
        match text.strip_prefix("~/") {
            Some(rest) => Some(self.user_home.as_ref()?.join(rest)),
            None => Some(self.home.join(text)),
        }
    }

    /// The user's home directory.
    pub fn user_home(&self) -> Result<&Path, ConfigError> {
        self.user_home.as_deref().filter(|path| path.is_absolute()).ok_or(ConfigError::NoUserHome)
    }

    /// The user's cache directory. The XDG rules: a relative path is ignored.
    pub fn cache(&self) -> Result<PathBuf, ConfigError> {
        let named = self
            .environment
            .get("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        named.map_or_else(|| Ok(self.user_home()?.join(".cache")), Ok)
    }

    /// One sentence for each setting of 1.x that does nothing here.
    pub fn retired(&self) -> impl Iterator<Item = String> {
        settings::RETIRED.iter().filter_map(|(name, instead)| {
            let place = if self.environment.contains_key(*name) { ENVIRONMENT } else { FILE };
            let given = self.environment.contains_key(*name) || self.file.contains_key(*name);
            given.then(|| {
                format!("{name} in {place} is of NanoClaw 1.x and does nothing here: {instead}")
            })
        })
    }

    fn first(&self, setting: &Setting) -> Option<(&'static str, &str)> {
        self.given(setting).into_iter().find_map(|(place, value)| Some((place, value?)))
    }
}

fn read_file(path: &Path) -> Result<HashMap<String, String>, ConfigError> {
    match std::fs::read(path) {
        Ok(bytes) => dotenv::parse(&bytes)
            .map_err(|source| ConfigError::BadLine { path: path.to_owned(), source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(HashMap::new()),
        Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    }
}

fn refuse_unknown(
    values: &HashMap<String, String>,
    place: &'static str,
) -> Result<(), ConfigError> {
    let mut names: Vec<_> = values.keys().collect();
    names.sort_unstable();
    match names.into_iter().find_map(|name| Some((name, settings::mistaken(name)?))) {
        Some((name, nearest)) => Err(ConfigError::Unknown { name: name.clone(), place, nearest }),
        None => Ok(()),
    }
}

fn invalid(setting: &Setting, place: &'static str, text: &str) -> ConfigError {
    let shown: String = text.chars().take(80).collect();
    let value = if setting.secret { String::new() } else { format!("={shown:?}") };
    ConfigError::Invalid { name: setting.name, value, place, allowed: setting.allowed }
}
