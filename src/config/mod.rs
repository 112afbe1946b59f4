//! The configuration file (SPEC 3) as plain typed values. Knows how it is written, not what is done with it.
//!
//! Every key but `database.url` has a default. All problems are reported at once, each with its line. A setting that
//! does nothing yet is refused with "not yet", never ignored.
mod admin;
mod database;
mod delivery;
mod environment;
mod events;
mod problem;
mod section;
mod sections;
mod settings;
mod units;

pub use events::EventEntry;
pub use problem::Problems;
pub use settings::{Config, Database, IndexEngine, LogFormat, LogSection, MetricsSection, Secrets};
pub use units::duration;

use problem::ProblemReport;
use section::Section;
use std::path::Path;
use toml::de::DeTable;

/// The commented defaults, as shipped in `config/tailhook.toml`.
pub const COMMENTED_DEFAULTS: &str = include_str!("../../config/tailhook.toml");

/// Looks an environment variable up. Handed in, so that reading a file is a pure function.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Reads a file. Relative paths in it are meant from its own folder, so that the data folder does not depend on where the
/// process was started.
pub fn load(file: &Path, environment: Environment<'_>) -> Result<Config, Problems> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        let text = format!("cannot be read ({error}); name the file with --config or TAILHOOK_CONFIG");
        Problems::whole_file(&name, text)
    })?;
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    parse(&name, folder, &text, environment)
}

/// Reads the text of a file; `name` is for messages, `folder` what relative paths are meant from.
pub fn parse(
    name: &str,
    folder: &Path,
    text: &str,
    environment: Environment<'_>,
) -> Result<Config, Problems> {
    let report = ProblemReport::new(name, text);
    let (mut document, broken) = DeTable::parse_recoverable(text);
    for error in &broken {
        let line = error.span().map_or(1, |span| report.line_of(&span));
        report
            .unreadable(line, format!("is not TOML: {}; mend the line", error.message().replace('\n', ", ")));
    }
    environment::interpolate(document.get_mut(), environment, &report);
    let root = Section::root(&report, document.get_ref());
    let mut config = sections::read(&root, &report, broken.is_empty());
    environment::overrides(&mut config, environment, &report);
    sections::check(&mut config, &root, &report);
    root.finish();
    report.finish()?;
    config.resolve_paths(folder);
    Ok(config)
}

#[cfg(test)]
mod tests;
