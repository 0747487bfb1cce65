//! Days and times of the Gregorian calendar, without time zones.

use std::ops::Range;

const DAY: i64 = 86_400;
/// Days of four hundred years, and from the first of March of the year 0 to the beginning of 1970.
const ERA: i64 = 146_097;
const BEFORE_1970: i64 = 719_468;

/// Seconds from the beginning of 1970 to what a text like `2026-05-31T18:00:00` says, whatever stands between
/// the numbers and behind them.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let number = |range: Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    let is_time = hour < 24 && minute < 60 && second <= 60;
    (is_date && is_time).then(|| days(year, month, day) * DAY + hour * 3600 + minute * 60 + second)
}

/// As [`parse`], in UTC where the text ends with an offset from it: `2019-07-20T15:01:02+0200`, or `+02:00`.
pub(crate) fn parse_with_offset(text: &str) -> Option<i64> {
    let offset = || {
        let behind = text.get(19..)?;
        let (sign, digits) = behind[behind.find(['+', '-'])?..].split_at(1);
        let digits = digits.replace(':', "");
        let is_offset = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: i64 = digits.parse().ok().filter(|_| is_offset)?;
        let seconds = number / 100 * 3600 + number % 100 * 60;
        Some(if sign == "-" { -seconds } else { seconds })
    };
    Some(parse(text)? - offset().unwrap_or_default())
}

/// Such a text for a time in UTC: `2026-05-31 18:00:00 UTC`.
pub(crate) fn utc(seconds: i64) -> String {
    let (days, time) = (seconds.div_euclid(DAY) + BEFORE_1970, seconds.rem_euclid(DAY));
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Days from the beginning of 1970. Years begin in March here, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - BEFORE_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `date -u -d ... +%s`.
    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, seconds) in [
            ("1970-01-01 00:00:00", 0),
            ("1969-12-31 23:59:59", -1),
            ("2000-02-29 12:00:00", 951_825_600),
            ("2026-05-31 18:00:01", 1_780_250_401),
            ("1900-03-01 00:00:00", -2_203_891_200),
            ("2100-02-28 23:59:59", 4_107_542_399),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
            assert_eq!(utc(seconds), format!("{text} UTC"));
        }
        assert_eq!(parse("2026:05:31 18:00:01"), Some(1_780_250_401));
        for text in [
            "2026-05-31T20:00:01+0200",
            "2026-05-31T20:00:01+02:00",
            "2026-05-31T14:30:01.000-0330",
            "2026-05-31T18:00:01.000000Z",
            "2026-05-31T18:00:01+what",
        ] {
            assert_eq!(parse_with_offset(text), Some(1_780_250_401), "{text}");
        }
        assert_eq!(parse_with_offset("what+0200"), None);
        assert_eq!(parse("2026-05-31T18:00:01.000000Z"), Some(1_780_250_401));
        for text in [
            "",
            "0000:00:00 00:00:00",
            "2026-05-31",
            "    :  :     :  :  ",
            "2026-13-01 00:00:00",
            "ä026-01-01 00:00:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
