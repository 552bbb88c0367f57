//! The date and time of day.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment as RFC 3339 has it, in UTC: `2026-11-26T14:44:44.123Z`.
pub fn utc(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years that begin in March end with the day that leap years add; 400 of them have 146097 days. Day 0 is a Thursday
    // in 1970, 719468 days after such a year 0 began.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = 400 * era + year + u64::from(month <= 2);
    let day = of_year - (153 * march + 2) / 5 + 1;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", since.subsec_millis())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
mod tests {
    use std::{process::Command, time::Duration};

    use super::*;

    #[test]
    fn it_is_the_date_of_date() {
        // Around the ends of months, years, centuries, and what is known to be odd.
        let days = [0, 58, 59, 60, 364, 365, 789, 11_015, 11_016, 11_017, 20_783, 24_855, 47_540, 47_541, 47_542];
        for seconds in days.into_iter().flat_map(|day| [day * 86_400, day * 86_400 + 86_399]) {
            let at = format!("@{seconds}");
            let date = Command::new("date").args(["-u", "-d", &at, "+%Y-%m-%dT%H:%M:%S.000Z"]).output().unwrap();
            let moment = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).expect("in range");
            assert_eq!(utc(moment), String::from_utf8(date.stdout).unwrap().trim_end());
        }
        assert_eq!(utc(UNIX_EPOCH + Duration::from_micros(1_999)), "1970-01-01T00:00:00.001Z");
    }
}
