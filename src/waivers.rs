//! `ci/waivers.toml`: what may be easier to meet than the baseline, who says so, and until when.

use seaworthy_reports::compare::{Loosened, has_a_limit, is_looser};
use seaworthy_reports::slo::is_limit;
use serde::Deserialize;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::exit::Exit;
use crate::files::read_text;
use crate::show;

/// The waivers that hold today.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Waivers {
    #[serde(default)]
    waiver: Vec<Waiver>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiver {
    scenario: String,
    what: String,
    /// How loose it may become; without it, as loose as it likes.
    to: Option<String>,
    owner: String,
    until: String,
    why: String,
}

impl Waivers {
    /// Whether that may be as loose as it has become.
    pub(crate) fn waive(&self, loosened: &Loosened) -> bool {
        self.waiver.iter().any(|waiver| waiver.is_of(loosened))
    }

    /// Those that none of `waived` needed, of the scenarios that `ran`.
    pub(crate) fn unused(&self, waived: &[Loosened], ran: impl Fn(&str) -> bool) -> Vec<String> {
        let unused =
            self.waiver.iter().filter(|waiver| ran(&waiver.scenario) && !waived.iter().any(|it| waiver.is_of(it)));
        unused.map(|waiver| format!("{} {} of {}", waiver.scenario, waiver.what, waiver.owner)).collect()
    }
}

impl Waiver {
    fn is_of(&self, loosened: &Loosened) -> bool {
        let within = self.to.as_ref().is_none_or(|to| !is_looser(to, &loosened.to));
        (&self.scenario, &self.what) == (&loosened.scenario, &loosened.what) && within
    }
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{path}: {why}")]
#[diagnostic(
    code(waivers::unusable),
    help(
        "a waiver is [[waiver]] with scenario, what, owner, until = \"2026-12-31\" and why, and perhaps to = \"<= 8s\"; it ends with its day"
    )
)]
struct Unusable {
    path: String,
    why: String,
}

/// Where they are unless another file is named.
const FILE: &str = "ci/waivers.toml";

/// Reads the waivers. A file that is named must be there; without a name none need be. One past its end is an error, as it
/// would be forgotten otherwise.
pub(crate) fn read(named: Option<&str>) -> Result<Waivers, Exit> {
    let path = named.unwrap_or(FILE);
    let refused = |why: String, exit| {
        show::problem(&Unusable { path: path.to_owned(), why });
        exit
    };
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(Waivers::default()),
        Err(error) => return Err(refused(error.to_string(), Exit::from(&error))),
    };
    check(&text, &today()).map_err(|why| refused(why, Exit::Usage))
}

fn today() -> String {
    let now = OffsetDateTime::now_utc();
    format!("{:04}-{:02}-{:02}", now.year(), u8::from(now.month()), now.day())
}

fn check(text: &str, today: &str) -> Result<Waivers, String> {
    let waivers: Waivers = toml::from_str(text).map_err(|error| error.to_string())?;
    for waiver in &waivers.waiver {
        let of = format!("the waiver of {} {}", waiver.scenario, waiver.what);
        if waiver.owner.trim().is_empty() || waiver.why.trim().is_empty() {
            return Err(format!("{of} says not who or why"));
        }
        if let Some(to) = waiver.to.as_ref().filter(|to| has_a_limit(&waiver.what) && !is_limit(to)) {
            return Err(format!("{of} has to = `{to}`, which is no limit such as `<= 8s`"));
        }
        if time::Date::parse(&waiver.until, format_description!("[year]-[month]-[day]")).is_err() {
            return Err(format!("{of} ends on `{}`, which is no day", waiver.until));
        }
        // Days of this form sort as texts.
        if waiver.until.as_str() < today {
            return Err(format!("{of} ended on {}; ask {} or take it out", waiver.until, waiver.owner));
        }
    }
    Ok(waivers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiver(until: &str) -> String {
        format!("[[waiver]]\nscenario = \"s\"\nwhat = \"lost\"\nowner = \"kim\"\nuntil = \"{until}\"\nwhy = \"w\"\n")
    }

    fn loosened(scenario: &str, what: &str, to: &str) -> Loosened {
        Loosened { scenario: scenario.into(), what: what.into(), from: "== 0".into(), to: to.into() }
    }

    #[test]
    fn a_waiver_holds_to_the_end_of_its_day() {
        let waivers = check(&waiver("2026-12-31"), "2026-12-31").unwrap();
        let waives =
            |waivers: &Waivers, scenario: &str, what: &str, to: &str| waivers.waive(&loosened(scenario, what, to));
        assert!(waives(&waivers, "s", "lost", "<= 9") && waives(&waivers, "s", "lost", "gone"));
        assert!(!waives(&waivers, "s", "shed", "<= 9") && !waives(&waivers, "t", "lost", "<= 9"));
        let bound = check(&format!("{}to = \"<= 8\"\n", waiver("2026-12-31")), "2026-12-31").unwrap();
        assert!(waives(&bound, "s", "lost", "<= 8") && waives(&bound, "s", "lost", "< 8"));
        assert!(!waives(&bound, "s", "lost", "<= 9") && !waives(&bound, "s", "lost", "gone"));
        assert_eq!(bound.unused(&[loosened("s", "lost", "<= 8")], |_| true), Vec::<String>::new());
        assert_eq!(bound.unused(&[], |_| true), ["s lost of kim"]);
        assert_eq!(bound.unused(&[], |scenario| scenario != "s"), Vec::<String>::new());
        assert!(check(&waiver("2026-12-30"), "2026-12-31").unwrap_err().contains("ended on 2026-12-30; ask kim"));
        for (text, why) in [
            (waiver("soon"), "no day"),
            (format!("{}to = \"8s\"\n", waiver("2026-12-31")), "`8s`, which is no limit"),
            (waiver("2026-12-31").replace("kim", " "), "not who"),
            (waiver("2026-12-31").replace("why", "wy"), "wy"),
            ("[[waiver]]\n".to_owned(), "missing field"),
        ] {
            let told = check(&text, "2026-01-01").unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
