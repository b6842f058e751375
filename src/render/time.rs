//! The binary forms of dates, times and intervals. Uses: nothing.
//!
//! The text is what PostgreSQL writes in JSON (`JsonEncodeDateTime`), but for `Z` as the zone of UTC.

use std::borrow::Cow;
use std::fmt::Write as _;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A date from days since 2000-01-01.
pub(super) fn date(days: i32) -> Cow<'static, str> {
    match days {
        i32::MAX => "infinity".into(),
        i32::MIN => "-infinity".into(),
        days => {
            let (mut text, before_christ) = calendar(days.into());
            text.push_str(before_christ);
            text.into()
        }
    }
}

/// A moment from microseconds since 2000-01-01, with the zone's name behind the time.
pub(super) fn timestamp(micros: i64, zone: &str) -> Cow<'static, str> {
    match micros {
        i64::MAX => "infinity".into(),
        i64::MIN => "-infinity".into(),
        micros => {
            let (mut text, before_christ) = calendar(micros.div_euclid(DAY));
            text.push('T');
            push_clock(&mut text, micros.rem_euclid(DAY));
            text.push_str(zone);
            text.push_str(before_christ);
            text.into()
        }
    }
}

/// A time of day from microseconds since midnight; the end of the day is 24:00:00.
pub(super) fn time(micros: i64) -> Option<String> {
    let mut text = String::new();
    (0..=DAY).contains(&micros).then(|| push_clock(&mut text, micros))?;
    Some(text)
}

/// A time of day with its zone, which is sent in seconds west of UTC.
pub(super) fn timetz(micros: i64, west: i32) -> Option<String> {
    let mut text = time(micros)?;
    let seconds = west.unsigned_abs();
    // A day and more can't be written as an offset.
    if seconds >= 24 * 3600 {
        return None;
    }
    let _ = match seconds {
        0 => write!(text, "Z"),
        _ => {
            write!(text, "{}{:02}:{:02}", if west < 0 { '+' } else { '-' }, seconds / 3600, seconds / 60 % 60)
        }
    };
    if !seconds.is_multiple_of(60) {
        let _ = write!(text, ":{:02}", seconds % 60);
    }
    Some(text)
}

/// A duration by ISO 8601, each part with its own sign, as with `SET intervalstyle = 'iso_8601'`.
pub(super) fn interval(micros: i64, days: i32, months: i32) -> Cow<'static, str> {
    // The infinities are those of PostgreSQL 17.
    match (micros, days, months) {
        (0, 0, 0) => return "PT0S".into(),
        (i64::MAX, i32::MAX, i32::MAX) => return "infinity".into(),
        (i64::MIN, i32::MIN, i32::MIN) => return "-infinity".into(),
        _ => {}
    }
    let mut text = String::from("P");
    let push = |text: &mut String, value: i64, unit: char| {
        if value != 0 {
            let _ = write!(text, "{value}{unit}");
        }
    };
    push(&mut text, (months / 12).into(), 'Y');
    push(&mut text, (months % 12).into(), 'M');
    push(&mut text, days.into(), 'D');
    if micros != 0 {
        text.push('T');
    }
    push(&mut text, micros / HOUR, 'H');
    push(&mut text, micros % HOUR / MINUTE, 'M');
    let seconds = micros % MINUTE;
    if seconds != 0 {
        // The sign apart: there is no negative zero before a fraction.
        let _ = write!(text, "{}{}", if seconds < 0 { "-" } else { "" }, (seconds / SECOND).abs());
        push_fraction(&mut text, (seconds % SECOND).abs());
        text.push('S');
    }
    text.into()
}

/// The day of the calendar, and what marks years before the first.
fn calendar(days: i64) -> (String, &'static str) {
    // Years begin in March here, so that the leap day is the last: eras of 400 years are then all alike.
    const FROM_MARCH_OF_YEAR_0: i64 = 730_425;
    const ERA: i64 = 146_097;
    let days = days + FROM_MARCH_OF_YEAR_0;
    let day = days.rem_euclid(ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = days.div_euclid(ERA) * 400 + year + i64::from(month <= 2);
    // The year before 1 is 1 BC.
    let (year, before_christ) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    (format!("{year:04}-{month:02}-{day:02}"), before_christ)
}

fn push_clock(text: &mut String, micros: i64) {
    let _ =
        write!(text, "{:02}:{:02}:{:02}", micros / HOUR, micros % HOUR / MINUTE, micros % MINUTE / SECOND);
    push_fraction(text, micros % SECOND);
}

/// The part of a second, without zeros at its end.
fn push_fraction(text: &mut String, micros: i64) {
    if micros != 0 {
        let _ = write!(text, ".{micros:06}");
        text.truncate(text.trim_end_matches('0').len());
    }
}
