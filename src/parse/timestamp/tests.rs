//! Which times are found in lines, and which are not, by example and by law.

use super::*;
use jiff::civil::date;
use proptest::prelude::*;

const NEW_YORK: &str = "EST5EDT,M3.2.0,M11.1.0";
const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

fn zone(posix: &str) -> TimeZone {
    TimeZone::posix(posix).unwrap()
}

fn dater(rule: &Timestamp, posix: &str) -> Dater {
    Dater::new(rule, zone(posix)).unwrap()
}

/// `2026-11-21T02:03:04.567Z` → milliseconds.
fn at(text: &str) -> EpochMs {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

const READ: &str = "2026-11-21T12:00:00Z";

/// Each record's time in New York, read at noon UTC on 2026-11-21; `""` is none, `"?"` unbelievable.
fn check(rule: &Timestamp, table: &[(&str, &str)]) {
    check_read_at(rule, READ, table);
}

fn check_read_at(rule: &Timestamp, read_at: &str, table: &[(&str, &str)]) {
    let mut dater = dater(rule, NEW_YORK);
    for (record, want) in table {
        let want = match *want {
            "" => Dated::None,
            "?" => Dated::Unbelievable,
            time => Dated::At(at(time)),
        };
        assert_eq!(dater.date(record.as_bytes(), at(read_at)), want, "{record}");
    }
}

#[test]
fn agent_log_is_local_in_1x_and_utc_in_2x() {
    // The same wall-clock time is five hours apart in New York, told apart line by line.
    check(
        &Timestamp::CodeDeployAgent,
        &[
            (
                "2026-11-21T02:02:58 INFO  [codedeploy-agent(30350)]: a\nb",
                "2026-11-21T07:02:58Z",
            ),
            (
                "2026-11-21 02:02:58  INFO Worker 1 starting",
                "2026-11-21T02:02:58Z",
            ),
            (
                "2026-11-21 02:02:58 INFO  [codedeploy-agent(30350)]: a",
                "2026-11-21T07:02:58Z",
            ),
            ("2026-11-21 02:02:58 ERROR msg", "2026-11-21T02:02:58Z"),
            (
                "2026-11-21T02:02:58 DEBUG [codedeploy-local(1)]: .5Z",
                "2026-11-21T07:02:58Z",
            ),
            ("2026-11-21 02:02:58 a line of a page", ""),
            ("No server is available", ""),
            ("", ""),
            ("2026-11-31 02:02:58  INFO msg", ""),
        ],
    );
}

#[test]
fn deployments_log_is_local_with_milliseconds() {
    // Both generations' records and the header with its offset, in New York.
    check(
        &Timestamp::CodeDeployDeployments,
        &[
            (
                "[2026-11-21 01:53:20.025] [d-X]LifecycleEvent - A",
                "2026-11-21T06:53:20.025Z",
            ),
            (
                "[2026-11-20 22:23:53.222] 2026-11-20 22:23:53 [stdout]x",
                "2026-11-21T03:23:53.222Z",
            ),
            (
                "# Logfile created on 2026-11-21 01:53:20 +0000 by logger.rb/v1",
                "2026-11-21T01:53:20Z",
            ),
            ("2026-11-21 01:53:20.025", ""),
            ("[2026-11-21", ""),
            ("[\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", ""),
        ],
    );
}

#[test]
fn scripts_log_is_local_to_the_second() {
    // What follows the space is the script's and changes nothing.
    check(
        &Timestamp::CodeDeployScripts,
        &[
            ("2026-11-21 01:53:20 [stdout]text", "2026-11-21T06:53:20Z"),
            (
                "2026-11-21 01:53:20 LifecycleEvent - AfterInstall",
                "2026-11-21T06:53:20Z",
            ),
            ("2026-11-21 01:53:20 +0000 x", "2026-11-21T06:53:20Z"),
            ("2026-11-21 01:53:20.123 x", "2026-11-21T06:53:20.123Z"),
            ("2026-11-21 01:53:20Z x", ""),
            ("2026-11-21 01:53:20", ""),
            ("text", ""),
        ],
    );
}

#[test]
fn updater_log_is_local_in_1x_and_utc_in_2x() {
    // The offset that 2.x writes decides; raw output of the package manager has no time.
    check(
        &Timestamp::CodeDeployUpdater,
        &[
            (
                "I, [2026-11-21T02:10:01.696894 #20696]  INFO -- : msg",
                "2026-11-21T07:10:01.696Z",
            ),
            (
                "[2026-11-21T02:10:01Z] /bin/sh /tmp/x exit=0",
                "2026-11-21T02:10:01Z",
            ),
            ("[2026-11-21T02:10:01.5Z] x", "2026-11-21T02:10:01.500Z"),
            (
                "# Logfile created on 2026-11-21 01:53:20 +0000 by logger.rb",
                "2026-11-21T01:53:20Z",
            ),
            ("--- stdout ---", ""),
            ("Setting up codedeploy-agent", ""),
        ],
    );
}

#[test]
fn auto_knows_the_usual_formats() {
    // Every format with and without fraction and offset, and what only looks like one.
    check(
        &Timestamp::Auto,
        &[
            ("2026-11-21T02:03:04Z x", "2026-11-21T02:03:04Z"),
            ("2026-11-21t02:03:04z", "2026-11-21T02:03:04Z"),
            (
                "2026-11-21T02:03:04.123456789Z stdout F x",
                "2026-11-21T02:03:04.123Z",
            ),
            ("2026-11-21T02:03:04,5+01:00 x", "2026-11-21T01:03:04.500Z"),
            ("2026-11-21T02:03:04+0130 x", "2026-11-21T00:33:04Z"),
            ("2026-11-21 02:03:04-05", "2026-11-21T07:03:04Z"),
            ("2026-11-21 02:03:04 +0100 x", "2026-11-21T01:03:04Z"),
            (
                "2026-11-21 02:03:04 UTC [1] LOG:  x",
                "2026-11-21T02:03:04Z",
            ),
            ("2026-11-21 02:03:04 Zebra", "2026-11-21T07:03:04Z"),
            ("2026-11-21 02:03:04 -12 degrees", "2026-11-21T07:03:04Z"),
            ("2026-11-21 02:03:04-12345", "2026-11-21T07:03:04Z"),
            (
                "2026-11-21 02:03:04,123 - INFO - x",
                "2026-11-21T07:03:04.123Z",
            ),
            ("2026-11-21 02:03:04", "2026-11-21T07:03:04Z"),
            ("[2026-11-21 02:03:04.1] x", "2026-11-21T07:03:04.100Z"),
            ("2026/11/21 02:03:04 [error] x", "2026-11-21T07:03:04Z"),
            (
                "\x1b[90m2026-11-21T02:03:04Z\x1b[0m x",
                "2026-11-21T02:03:04Z",
            ),
            (
                "I, [2026-11-21T02:03:04.696894 #1]  INFO",
                "2026-11-21T07:03:04.696Z",
            ),
            (
                "<34>1 2026-11-21T02:03:04.5Z host app",
                "2026-11-21T02:03:04.500Z",
            ),
            ("<34>Nov 21 02:03:04 host app[1]: x", "2026-11-21T07:03:04Z"),
            ("Nov  1 00:03:04 host app[1]: x", "2026-11-01T04:03:04Z"),
            (
                "[Sat Nov 21 02:03:04.123456 2026] [core:error] x",
                "2026-11-21T07:03:04.123Z",
            ),
            ("21/Nov/2026:02:03:04 +0000 x", "2026-11-21T02:03:04Z"),
            (
                "10.0.0.1 - bob [21/Nov/2026:02:03:04 -0500] \"GET /\"",
                "2026-11-21T07:03:04Z",
            ),
            ("[x] a [21/Nov/2026:02:03:04 +0000]", "2026-11-21T02:03:04Z"),
            ("1795226584 x", "2026-11-21T02:03:04Z"),
            (
                "1795226584.567   45 10.0.0.1 TCP_MISS",
                "2026-11-21T02:03:04.567Z",
            ),
            ("1795226584567 x", "2026-11-21T02:03:04.567Z"),
            ("[1795226584] EXTERNAL COMMAND", "2026-11-21T02:03:04Z"),
            ("2024-02-29 12:00:00Z", "2024-02-29T12:00:00Z"),
            ("2026-12-01T00:00:00Z", "?"),
            ("1989-12-31T23:59:59Z", "?"),
            ("2026-02-29 12:00:00Z", ""),
            ("2026-13-01 00:00:00", ""),
            ("2026-11-21 24:00:00", ""),
            ("2026-11-21", ""),
            ("2026-11-21 02:03", ""),
            ("4829104821 orders", ""),
            ("1234567890 old number", ""),
            ("1795226584", ""),
            ("17952265840 x", ""),
            ("Nov 31 02:03:04 x", ""),
            ("Marvin 21 02:03:04", ""),
            ("text 2026-11-21 02:03:04", ""),
            ("<>", ""),
            ("", ""),
        ],
    );
}

#[test]
fn json_records_have_their_time_in_a_field() {
    // Numbers by size, texts in any format, only at top level, whatever stands before.
    let rule = Timestamp::Auto;
    check(
        &rule,
        &[
            (
                r#"{"level":"info","ts":1795226584.567,"msg":"x"}"#,
                "2026-11-21T02:03:04.567Z",
            ),
            (r#"{"time":1795226584567}"#, "2026-11-21T02:03:04.567Z"),
            (
                r#"{"time": 1795226584567890 , "x":1}"#,
                "2026-11-21T02:03:04.567Z",
            ),
            (
                r#"{"time":1795226584567890123}"#,
                "2026-11-21T02:03:04.567Z",
            ),
            (r#"{"time":1.795226584e9}"#, "2026-11-21T02:03:04Z"),
            (r#"{"time":"1795226584"}"#, "2026-11-21T02:03:04Z"),
            (
                r#"{ "a" : [1,{"ts":5},"]"], "@timestamp" : "2026-11-21T02:03:04Z" }"#,
                "2026-11-21T02:03:04Z",
            ),
            (
                r#"{"a":{"time":"2020-01-01T00:00:00Z","}":"{"},"date":"2026-11-21 02:03:04"}"#,
                "2026-11-21T07:03:04Z",
            ),
            (
                r#"{"m":"say \"time\":\"x\\","timestamp":"21\/Nov\/2026:02:03:04 +0000"}"#,
                "2026-11-21T02:03:04Z",
            ),
            (
                r#"{"\u0074s":"2026-11-21T02:03:04\u002b00:00"}"#,
                "2026-11-21T02:03:04Z",
            ),
            (
                r#"{"time":0.25,"timestamp":"2026-11-21T02:03:04Z"}"#,
                "2026-11-21T02:03:04Z",
            ),
            (
                r#"{"time":null,"date":true,"ts":"2026-11-21T02:03:04Z"}"#,
                "2026-11-21T02:03:04Z",
            ),
            (r#"{"level":"info"}"#, ""),
            (r#"{"time":-5}"#, ""),
            (r#"{"time":1e999}"#, ""),
            (r#"{"time":"#, ""),
            (r#"{"time"#, ""),
            ("{", ""),
            ("{}", ""),
            (r#"{"a":[[["#, ""),
            (r#"{"a":"\"#, ""),
        ],
    );
    check(
        &Timestamp::Json("at".to_owned()),
        &[
            (
                r#"  {"time":1,"at":1795226584567}"#,
                "2026-11-21T02:03:04.567Z",
            ),
            (r#"{"at":12}"#, "?"),
            (r#"{"time":1795226584567}"#, ""),
            ("2026-11-21T02:03:04Z", ""),
        ],
    );
}

#[test]
fn epochs_of_an_explicit_rule_are_taken_as_they_are() {
    // However old, with what may stand before them.
    check(
        &Timestamp::EpochSeconds,
        &[
            ("1234567890.25 x", "2009-02-13T23:31:30.250Z"),
            ("[1234567890]", "2009-02-13T23:31:30Z"),
            ("99", "?"),
            ("999999999999999999", "?"),
            ("9999999999999999999999", ""),
            ("x", ""),
        ],
    );
    check(
        &Timestamp::EpochMillis,
        &[("1234567890250 x", "2009-02-13T23:31:30.250Z"), ("", "")],
    );
    check(&Timestamp::None, &[("2026-11-21T02:03:04Z", "")]);
}

#[test]
fn patterns_are_read_at_the_head() {
    // With and without zone, year and seconds, behind a bracket, and repeated (the memo).
    let pattern = |text: &str| Timestamp::Pattern(text.to_owned());
    check(
        &pattern("%d.%m.%Y %H:%M:%S"),
        &[
            ("21.11.2026 02:03:04 x", "2026-11-21T07:03:04Z"),
            ("21.11.2026 02:03:04 y", "2026-11-21T07:03:04Z"),
            ("21.11.2026 02:03:05 y", "2026-11-21T07:03:05Z"),
            ("[21.11.2026 02:03:04] x", "2026-11-21T07:03:04Z"),
            ("x 21.11.2026 02:03:04", ""),
            ("", ""),
        ],
    );
    check(
        &pattern("%Y-%m-%d %H:%M:%S%.f %z"),
        &[(
            "2026-11-21 02:03:04.567 +0100 x",
            "2026-11-21T01:03:04.567Z",
        )],
    );
    check(
        &pattern("%a %b %e %H:%M:%S"),
        &[("Sat Nov 21 02:03:04 x", "2026-11-21T07:03:04Z")],
    );
    check(
        &pattern("%b %d %H:%M:%S %z"),
        &[("Nov 21 02:03:04 +0000 x", "2026-11-21T02:03:04Z")],
    );
    check(
        &pattern("[%d/%b/%y %I:%M %p]"),
        &[("[21/Nov/26 02:03 AM] x", "2026-11-21T07:03:00Z")],
    );
    check(&pattern("%s"), &[("1795226584 x", "2026-11-21T02:03:04Z")]);
}

#[test]
fn unusable_patterns_are_refused_with_a_reason() {
    // Good ones pass; each bad one is refused by the checker and by the dater, and says why.
    for good in [
        "%Y-%m-%dT%H:%M:%S%.f%:z",
        "%F %T",
        "%F %T,%3f",
        "%b %e %T",
        "%s",
        "%Y%j %T",
        "%F %I:%M %p",
    ] {
        assert_eq!(check_pattern(good), Ok(()), "{good}");
    }
    for bad in [
        "", "%", "%T", "%Y-%m-%d", "%d %T", "%K %F %T", "%F %T %Z", "%F %T %Q", "%F %I:%M",
        "%j %T", "hello",
    ] {
        let reason = check_pattern(bad).unwrap_err();
        assert!(!reason.is_empty());
        let rule = Timestamp::Pattern(bad.to_owned());
        assert!(Dater::new(&rule, TimeZone::UTC).is_err(), "{bad}");
    }
}

#[test]
fn year_is_the_nearest_one_across_year_ends() {
    // Lines of one year read in the next and the other way round, and leap days.
    let auto = &Timestamp::Auto;
    check_read_at(
        auto,
        "2027-01-01T05:00:10Z",
        &[
            ("Dec 31 23:59:58 h a", "2027-01-01T04:59:58Z"),
            ("Jan  1 00:00:05 h a", "2027-01-01T05:00:05Z"),
            ("Oct 31 12:00:00 h a", "2026-10-31T16:00:00Z"),
        ],
    );
    check_read_at(
        auto,
        "2026-12-31T23:59:50Z",
        &[("Jan  1 00:30:00 h a", "?")],
    );
    check_read_at(
        auto,
        "2026-12-31T23:59:50Z",
        &[("Dec 31 18:59:49 h a", "2026-12-31T23:59:49Z")],
    );
    check_read_at(
        auto,
        "2028-03-01T05:00:00Z",
        &[("Feb 29 23:59:59 h a", "2028-03-01T04:59:59Z")],
    );
    check_read_at(
        auto,
        "2026-03-01T05:00:00Z",
        &[("Feb 29 23:59:59 h a", "2024-03-01T04:59:59Z")],
    );
}

#[test]
fn month_ends_and_leap_days_are_crossed() {
    // Local midnight in Berlin is another day, month or year in UTC.
    let mut dater = dater(&Timestamp::CodeDeployScripts, BERLIN);
    for (record, want) in [
        ("2027-01-01 00:00:00 x", "2026-12-31T23:00:00Z"),
        ("2026-12-01 00:30:00 x", "2026-11-30T23:30:00Z"),
        ("2028-03-01 00:00:00 x", "2028-02-29T23:00:00Z"),
        ("2028-02-29 00:00:00 x", "2028-02-28T23:00:00Z"),
        ("2026-03-01 00:59:59 x", "2026-02-28T23:59:59Z"),
        ("2026-07-01 00:00:00 x", "2026-06-30T22:00:00Z"),
    ] {
        assert_eq!(
            dater.date(record.as_bytes(), at("2030-01-01T00:00:00Z")),
            Dated::At(at(want))
        );
    }
}

#[test]
fn a_log_tailed_through_the_fold_never_goes_back() {
    // A line each ten minutes through the night the clocks go back, in two zones, read a second
    // after it was written: every line gets its true instant.
    for (posix, begin, hours) in [
        (NEW_YORK, "2026-11-01T03:00:00Z", 6),
        (BERLIN, "2026-10-24T22:00:00Z", 6),
        (NEW_YORK, "2026-03-08T04:00:00Z", 6),
        (BERLIN, "2026-03-28T22:00:00Z", 6),
    ] {
        let tz = zone(posix);
        for step_ms in [600_000, 1_000, 3_700_000] {
            let mut dater = dater(&Timestamp::CodeDeployScripts, posix);
            for ms in (at(begin)..at(begin) + hours * 3_600_000).step_by(step_ms) {
                let line = local_line(ms, &tz);
                assert_eq!(
                    dater.date(line.as_bytes(), ms + 1000),
                    Dated::At(ms),
                    "{line}"
                );
            }
        }
    }
}

#[test]
fn a_backlog_with_the_fold_in_it_is_told_by_its_order() {
    // The same lines read two days later, or exactly an hour later: a dense log is still right.
    let tz = zone(NEW_YORK);
    for late_ms in [2 * 86_400_000, 3_600_000, 3_601_000] {
        let mut dater = dater(&Timestamp::CodeDeployScripts, NEW_YORK);
        let begin = at("2026-11-01T03:00:00Z");
        for ms in (begin..begin + 6 * 3_600_000).step_by(20_000) {
            let line = local_line(ms, &tz);
            assert_eq!(
                dater.date(line.as_bytes(), ms + late_ms),
                Dated::At(ms),
                "{line}"
            );
        }
    }
}

#[test]
fn a_single_line_in_the_fold_is_told_by_when_it_was_read() {
    // Never after the read time, the second time when fresh, else the first; and by the last
    // record of the file the caller came back to.
    let line = b"2026-11-01 01:30:00 x";
    let (first, second) = (at("2026-11-01T05:30:00Z"), at("2026-11-01T06:30:00Z"));
    let date = |read_at: EpochMs, last: Option<EpochMs>| {
        let mut dater = dater(&Timestamp::CodeDeployScripts, NEW_YORK);
        dater.resume(last);
        let dated = dater.date(line, read_at);
        assert_eq!(dated, Dated::At(dater.last_ms().unwrap()));
        dated
    };
    assert_eq!(date(first + 1000, None), Dated::At(first));
    assert_eq!(date(second - 61_000, None), Dated::At(first));
    assert_eq!(date(second + 1000, None), Dated::At(second));
    assert_eq!(date(second + 86_400_000, None), Dated::At(first));
    assert_eq!(
        date(second + 86_400_000, Some(first - 5000)),
        Dated::At(first)
    );
    assert_eq!(
        date(second + 86_400_000, Some(first + 5000)),
        Dated::At(first)
    );
    assert_eq!(
        date(second + 86_400_000, Some(first + 1_800_000)),
        Dated::At(second)
    );
    assert_eq!(date(second + 1000, Some(first - 1000)), Dated::At(first));
}

#[test]
fn times_in_the_gap_count_from_before_it() {
    // 02:30 was never on 8 March in New York nor on 29 March in Berlin: the winter offset holds.
    for (posix, line, want) in [
        (NEW_YORK, "2026-03-08 02:30:00 x", "2026-03-08T07:30:00Z"),
        (BERLIN, "2026-03-29 02:30:00 x", "2026-03-29T01:30:00Z"),
    ] {
        let mut dater = dater(&Timestamp::CodeDeployScripts, posix);
        assert_eq!(dater.date(line.as_bytes(), at(READ)), Dated::At(at(want)));
    }
}

#[test]
fn the_future_is_believed_for_two_hours() {
    // Exactly two hours ahead is taken, a millisecond more is not; an unset clock judges nothing.
    let mut dater = dater(&Timestamp::Auto, NEW_YORK);
    let read = at(READ);
    assert_eq!(
        dater.date(b"2026-11-21T14:00:00.000Z", read),
        Dated::At(read + FUTURE_MAX_MS)
    );
    assert_eq!(
        dater.date(b"2026-11-21T14:00:00.001Z", read),
        Dated::Unbelievable
    );
    assert_eq!(dater.date(b"2026-11-21T12:00:00Z", 5000), Dated::At(read));
    assert_eq!(dater.date(b"x", read), Dated::None);
}

fn local_line(ms: EpochMs, tz: &TimeZone) -> String {
    let moment = jiff::Timestamp::from_millisecond(ms).unwrap();
    moment
        .to_zoned(tz.clone())
        .strftime("%Y-%m-%d %H:%M:%S x")
        .to_string()
}

fn instants() -> impl Strategy<Value = EpochMs> {
    at("1990-01-02T00:00:00Z")..at("2100-01-01T00:00:00Z")
}

proptest! {
    #[test]
    fn formats_with_an_offset_read_back(ms in instants(), offset_minutes in -720i32..=840) {
        // An instant written in any zone-carrying format is read as itself, to the format's
        // precision.
        let offset = jiff::tz::Offset::from_seconds(offset_minutes * 60).unwrap();
        let moment = jiff::Timestamp::from_millisecond(ms).unwrap();
        let zoned = moment.to_zoned(TimeZone::fixed(offset));
        let mut auto = dater(&Timestamp::Auto, NEW_YORK);
        for format in [
            "%Y-%m-%dT%H:%M:%S%.3f%:z x", "%Y-%m-%d %H:%M:%S,%3f%z", "%Y/%m/%d %H:%M:%S.%9f %:z",
            "[%Y-%m-%dT%H:%M:%S%.6f %z]", r#"{"a":1,"ts":"%Y-%m-%dT%H:%M:%S%.3f%:z"}"#,
        ] {
            let record = zoned.strftime(format).to_string();
            prop_assert_eq!(auto.date(record.as_bytes(), ms), Dated::At(ms), "{}", record);
            let pattern = format.trim_end_matches(" x");
            if !pattern.starts_with('{') {
                let mut own = dater(&Timestamp::Pattern(pattern.to_owned()), NEW_YORK);
                prop_assert_eq!(own.date(record.as_bytes(), ms), Dated::At(ms), "{}", record);
            }
        }
        let record = zoned.strftime("1.2.3.4 - - [%d/%b/%Y:%H:%M:%S %z] x").to_string();
        let second = ms.div_euclid(1000) * 1000;
        prop_assert_eq!(auto.date(record.as_bytes(), ms), Dated::At(second));
        let record = format!(r#"{{"time":{ms}}}"#);
        prop_assert_eq!(auto.date(record.as_bytes(), ms), Dated::At(ms));
    }

    #[test]
    fn local_times_agree_with_the_library(ms in instants(), berlin in any::<bool>()) {
        // Outside the fold every local time, read at once, is the instant the library gives.
        let posix = if berlin { BERLIN } else { NEW_YORK };
        let mut dater = dater(&Timestamp::CodeDeployScripts, posix);
        let second = ms.div_euclid(1000) * 1000;
        let line = local_line(second, &zone(posix));
        prop_assert_eq!(dater.date(line.as_bytes(), second), Dated::At(second));
    }

    #[test]
    fn days_agree_with_the_library(year in 1i16..=9999, month in 1i8..=12, day in 1i8..=31) {
        // Our calendar has the library's dates, and counts their days as it does.
        let ours = calendar::is_date(i64::from(year), month as u32, day as u32);
        match jiff::civil::Date::new(year, month, day) {
            Err(_) => prop_assert!(!ours),
            Ok(theirs) => {
                prop_assert!(ours);
                let days = i64::from((theirs - date(1970, 1, 1)).get_days());
                prop_assert_eq!(calendar::days_from_civil(i64::from(year), month as u32, day as u32), days);
            }
        }
    }

    #[test]
    fn memory_changes_nothing(
        records in prop::collection::vec((0usize..12, 0i64..200, 0usize..5), 1..40),
        rule in 0usize..6,
    ) {
        // A dater that has read other records before answers as a fresh one would that knows the
        // last instant: its memos only save time.
        let rule = [
            Timestamp::Auto, Timestamp::CodeDeployAgent, Timestamp::CodeDeployScripts,
            Timestamp::CodeDeployDeployments, Timestamp::CodeDeployUpdater,
            Timestamp::Pattern("%Y-%m-%d %H:%M:%S".to_owned()),
        ][rule].clone();
        let mut old = dater(&rule, NEW_YORK);
        let mut last = None;
        let begin = at("2026-11-01T04:58:00Z");
        for (shape, minutes, tail) in records {
            let ms = begin + minutes * 60_000;
            let zoned = jiff::Timestamp::from_millisecond(ms).unwrap().to_zoned(zone(NEW_YORK));
            let head = [
                "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "[%Y-%m-%d %H:%M:%S", "%b %d %H:%M:%S",
                "- [%d/%b/%Y:%H:%M:%S", "%Y/%m/%d %H:%M:%S", "I, [%Y-%m-%dT%H:%M:%S", "%s",
                "{\"ts\":\"%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%", "\0\0\0\0\0", "%Y-%m-%d %H:%M:%S ",
            ][shape];
            let head = zoned.strftime(head.trim_end_matches('%')).to_string();
            let record = head + [" INFO  [a(1)]: x", " INFO x", ".5Z]", " +0000\"}", ""][tail];
            let read_at = begin + 200 * 60_000;
            let mut fresh = dater(&rule, NEW_YORK);
            fresh.resume(last);
            let want = fresh.date(record.as_bytes(), read_at);
            prop_assert_eq!(old.date(record.as_bytes(), read_at), want, "{}", record);
            last = old.last_ms();
        }
    }

    #[test]
    fn garbage_never_panics(
        record in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            "[\\[<{I]?[0-9]{0,20}[-/:. T,Z+\\]\"a-z]{0,6}[0-9:/TNov \\-]{0,30}".prop_map(String::into_bytes),
            "\\{[\"a-z\\\\{}\\[\\]:,0-9 ]{0,40}".prop_map(String::into_bytes),
        ],
        read_at in prop_oneof![any::<i64>(), 0i64..2_000_000_000_000],
    ) {
        // Whatever the bytes and the clock, every rule gives an answer, and a believable one.
        for rule in [
            Timestamp::Auto, Timestamp::CodeDeployAgent, Timestamp::CodeDeployScripts,
            Timestamp::CodeDeployDeployments, Timestamp::CodeDeployUpdater, Timestamp::EpochMillis,
            Timestamp::EpochSeconds, Timestamp::Json("ts".to_owned()),
            Timestamp::Pattern("%b %d %H:%M:%S".to_owned()),
        ] {
            if let Dated::At(ms) = dater(&rule, BERLIN).date(&record, read_at) {
                prop_assert!(ms >= BELIEVED_FROM_MS);
                prop_assert!(read_at < BELIEVED_FROM_MS || ms <= read_at.saturating_add(FUTURE_MAX_MS));
            }
        }
    }
}
