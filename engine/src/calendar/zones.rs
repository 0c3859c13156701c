//! Zones by the names that calendar programs give them.
//!
//! A calendar may carry its own rules of a zone (`VTIMEZONE`). They are not read: they are copies of
//! the IANA data, often old ones, and of what is meant only the name matters. A zone that has no
//! name that is known is refused rather than guessed.

use jiff::tz::TimeZone;

use super::fault::quoted;
use crate::schedule::time_zone;

/// Zones of Windows, which Outlook writes, and the zone that CLDR gives for each (territory 001).
const WINDOWS: &[(&str, &str)] = &[
    ("AUS Eastern Standard Time", "Australia/Sydney"),
    ("Arab Standard Time", "Asia/Riyadh"),
    ("Arabian Standard Time", "Asia/Dubai"),
    ("Argentina Standard Time", "America/Buenos_Aires"),
    ("Atlantic Standard Time", "America/Halifax"),
    ("Cen. Australia Standard Time", "Australia/Adelaide"),
    ("Central America Standard Time", "America/Guatemala"),
    ("Central Europe Standard Time", "Europe/Budapest"),
    ("Central European Standard Time", "Europe/Warsaw"),
    ("Central Standard Time", "America/Chicago"),
    ("Central Standard Time (Mexico)", "America/Mexico_City"),
    ("China Standard Time", "Asia/Shanghai"),
    ("E. Africa Standard Time", "Africa/Nairobi"),
    ("E. Australia Standard Time", "Australia/Brisbane"),
    ("E. Europe Standard Time", "Europe/Chisinau"),
    ("E. South America Standard Time", "America/Sao_Paulo"),
    ("Eastern Standard Time", "America/New_York"),
    ("Egypt Standard Time", "Africa/Cairo"),
    ("FLE Standard Time", "Europe/Kiev"),
    ("GMT Standard Time", "Europe/London"),
    ("GTB Standard Time", "Europe/Bucharest"),
    ("Greenwich Standard Time", "Atlantic/Reykjavik"),
    ("Hawaiian Standard Time", "Pacific/Honolulu"),
    ("India Standard Time", "Asia/Calcutta"),
    ("Israel Standard Time", "Asia/Jerusalem"),
    ("Korea Standard Time", "Asia/Seoul"),
    ("Mountain Standard Time", "America/Denver"),
    ("New Zealand Standard Time", "Pacific/Auckland"),
    ("Newfoundland Standard Time", "America/St_Johns"),
    ("Pacific SA Standard Time", "America/Santiago"),
    ("Pacific Standard Time", "America/Los_Angeles"),
    ("Romance Standard Time", "Europe/Paris"),
    ("Russian Standard Time", "Europe/Moscow"),
    ("SA Pacific Standard Time", "America/Bogota"),
    ("SE Asia Standard Time", "Asia/Bangkok"),
    ("Singapore Standard Time", "Asia/Singapore"),
    ("South Africa Standard Time", "Africa/Johannesburg"),
    ("Taipei Standard Time", "Asia/Taipei"),
    ("Tokyo Standard Time", "Asia/Tokyo"),
    ("Turkey Standard Time", "Europe/Istanbul"),
    ("US Mountain Standard Time", "America/Phoenix"),
    ("UTC", "Etc/UTC"),
    ("W. Australia Standard Time", "Australia/Perth"),
    ("W. Central Africa Standard Time", "Africa/Lagos"),
    ("W. Europe Standard Time", "Europe/Berlin"),
];

/// The zones of one calendar.
#[derive(Debug, Default)]
pub(super) struct Zones {
    /// `X-WR-TIMEZONE`, or else the only zone that the calendar describes.
    of_calendar: Option<TimeZone>,
    described: Vec<(String, Option<String>)>,
}

impl Zones {
    /// Takes note of a `VTIMEZONE`: its `TZID`, and the IANA name it may say besides
    /// (`X-LIC-LOCATION`).
    pub(super) fn describe(&mut self, tzid: &str, location: Option<&str>) {
        self.described.push((tzid.to_owned(), location.map(str::to_owned)));
    }

    /// Sets the calendar's own zone: what `X-WR-TIMEZONE` names, or the only one described.
    pub(super) fn settle(&mut self, name: Option<&str>) -> Result<(), String> {
        self.of_calendar = match (name, self.described.as_slice()) {
            (Some(name), _) => Some(self.named(name)?),
            (None, [(only, _)]) => self.named(only).ok(),
            _ => None,
        };
        Ok(())
    }

    /// The zone of whole days, and of times that name none.
    pub(super) fn of_calendar(&self) -> Option<TimeZone> {
        self.of_calendar.clone()
    }

    /// A zone by its name: IANA's, that of Windows, or one that ends in IANA's behind slashes.
    pub(super) fn named(&self, name: &str) -> Result<TimeZone, String> {
        let location = self.described.iter().find(|(known, _)| known == name).and_then(|(_, at)| at.as_deref());
        [Some(name), location].into_iter().flatten().find_map(known).ok_or_else(|| {
            format!("names the zone {}, which is unknown; use an IANA name such as `Europe/Berlin`", quoted(name))
        })
    }
}

fn known(name: &str) -> Option<TimeZone> {
    let name = name.trim();
    let of_windows = || WINDOWS.iter().find(|(windows, _)| windows.eq_ignore_ascii_case(name));
    if let Some(zone) = time_zone(name).or_else(|| of_windows().and_then(|(_, iana)| time_zone(iana))) {
        return Some(zone);
    }
    // `/mozilla.org/20050126_1/Europe/Berlin`
    let rest = name.strip_prefix('/')?;
    let starts = rest.match_indices('/').map(|(index, _)| index + 1);
    starts.filter_map(|start| rest.get(start..)).take(4).find_map(time_zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_of_windows_has_one_of_iana() {
        for (windows, iana) in WINDOWS {
            assert!(time_zone(iana).is_some(), "{windows}: {iana}");
            assert!(known(windows).is_some(), "{windows}");
        }
    }

    #[test]
    fn zones_are_found_behind_prefixes_and_by_location_and_never_guessed() {
        let mut zones = Zones::default();
        zones.describe("Customized Time Zone", Some("Asia/Tokyo"));
        zones.describe("Other", None);
        for (name, found) in [
            ("/mozilla.org/20050126_1/Europe/Berlin", true),
            ("/freeassociation.sourceforge.net/America/Argentina/Salta", true),
            ("Customized Time Zone", true),
            ("Other", false),
            ("Berlin", false),
            ("/", false),
            ("", false),
        ] {
            assert_eq!(zones.named(name).is_ok(), found, "{name}");
        }
        let message = zones.named("Mars Standard Time").unwrap_err();
        assert!(message.contains("`Mars Standard Time`"), "{message}");
    }
}
