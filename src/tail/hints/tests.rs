//! Logs that are copied and cut more often than anybody looks.

use proptest::prelude::*;

use super::*;
use crate::event::Offset;
use crate::tail::testing::{Logs, Silent, tail_of};
use crate::tail::{ReadBuffer, Turn};

/// What happens to a log, or is done by the agent, between two other such things.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// So many lines are written.
    Write(usize),
    /// The log is copied as rotation does it.
    Copy,
    /// The log is cut; without a copy what it held is gone.
    Cut,
    Hint,
    /// A scan, after so many milliseconds.
    Look(u64),
    /// One file has its turn, with so many bytes.
    Turn(usize),
    /// A step of the agent ends.
    EndStep,
    /// A larger file of a rotated name appears that has nothing to do with the log.
    Stranger,
}

fn act() -> impl Strategy<Value = Vec<Act>> {
    let turn = prop_oneof![Just(1_100), Just(100_000)].prop_map(Act::Turn);
    prop_oneof![
        4 => prop_oneof![1..20_usize, 1..200_usize].prop_map(|lines| vec![Act::Write(lines)]),
        4 => Just(vec![Act::Copy, Act::Cut]),
        1 => Just(vec![Act::Copy]),
        1 => Just(vec![Act::Cut]),
        4 => Just(vec![Act::Hint]),
        2 => (0..100_u64).prop_map(|pause_ms| vec![Act::Look(pause_ms)]),
        2 => turn.prop_map(|turn| vec![turn]),
        2 => Just(vec![Act::EndStep]),
        1 => Just(vec![Act::Stranger]),
    ]
}

/// What rotation leaves besides the log itself.
#[derive(Clone, Copy, Debug)]
struct Custom {
    pattern: &'static str,
    /// Whether copies are numbered, the youngest first, or dated.
    is_numbered: bool,
    /// Whether a copy has the date of its original.
    keeps_dates: bool,
    /// Whether the clock is stepped all the time, so that dates say nothing.
    is_dateless: bool,
}

fn customs() -> impl Strategy<Value = Custom> {
    // Outside the patterns nothing but its date tells a copy from history.
    let pattern = prop_oneof![
        3 => Just(("/l/a.log", false)),
        3 => Just(("/l/a*log*", false)),
        1 => Just(("/l/a*log*", true)),
    ];
    (pattern, any::<bool>(), any::<bool>()).prop_map(
        |((pattern, is_dateless), is_numbered, keeps_dates)| Custom {
            pattern,
            is_numbered,
            keeps_dates,
            is_dateless,
        },
    )
}

/// One content of the log, from cut to cut.
#[derive(Debug, Default)]
struct Life {
    /// Its lines, with where each ends.
    lines: Vec<(String, u64)>,
    /// How much of it the tail has seen, by a hint, a scan or a turn.
    seen: u64,
    /// How much of it a copy holds.
    copied: u64,
    is_over: bool,
}

impl Life {
    fn size(&self) -> u64 {
        self.lines.last().map_or(0, |(_, end)| *end)
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|(line, _)| line.as_str())
    }
}

/// A log, its writer, and what was read of it.
struct Play {
    customs: Custom,
    logs: Logs,
    tail: Tail,
    lives: Vec<Life>,
    now_ms: u64,
    wall_ms: i64,
    lines: usize,
    copies: usize,
    strangers: usize,
    got: String,
    buffer: ReadBuffer,
}

/// Enough to find each fault that was ever found here.
const CASES: u32 = 1_000;

const LIVE: &str = "a.log";
const LIVE_INODE: u64 = 1;
/// What the lines of other logs begin with.
const STRANGE: &str = "strange";

impl Play {
    fn new(customs: Custom) -> Self {
        let mut logs = Logs::default();
        let tail = tail_of(Vec::new(), customs.pattern, &mut logs, &|_| Offset(0));
        logs.put(LIVE, LIVE_INODE, "", 0);
        // From before our time.
        logs.put("a.20250101.log", 2, &stranger(0), -1_000);
        Self {
            customs,
            logs,
            tail,
            lives: vec![Life::default()],
            now_ms: 0,
            wall_ms: 0,
            lines: 0,
            copies: 0,
            strangers: 0,
            got: String::new(),
            buffer: ReadBuffer::default(),
        }
    }

    fn now(&self) -> Now {
        Now {
            mono_ms: self.now_ms,
            wall_ms: self.wall_ms,
        }
    }

    fn life(&mut self) -> &mut Life {
        self.lives.last_mut().unwrap()
    }

    fn act(&mut self, act: Act) {
        self.wall_ms += 1;
        match act {
            Act::Write(lines) => self.write(lines),
            Act::Copy => self.copy(),
            Act::Cut => {
                self.logs.put(LIVE, LIVE_INODE, "", self.date());
                self.life().is_over = true;
                self.lives.push(Life::default());
            }
            Act::Hint => {
                let hints = Hints {
                    paths: [Path::new("/l").join(LIVE)].into(),
                    rescan: false,
                };
                let now = self.now();
                self.tail.hint(&hints, &mut self.logs, now);
                self.see();
            }
            Act::Look(pause_ms) => {
                self.now_ms += pause_ms;
                self.look();
            }
            Act::Turn(want) => drop(self.turn(want)),
            Act::EndStep => {
                let now = self.now();
                if !self.tail.hinted.is_empty() {
                    self.see();
                }
                self.tail.compare_hinted(&mut self.logs, now);
            }
            Act::Stranger => self.meet(),
        }
    }

    /// The date of what is written now.
    fn date(&self) -> i64 {
        match self.customs.is_dateless {
            true => self.wall_ms * 7_919 % 997,
            false => self.wall_ms,
        }
    }

    fn meet(&mut self) {
        self.strangers += 1;
        let nth = self.strangers;
        let name = format!("a.{}.log", 20_250_101 + nth);
        let date = self.date();
        let content = stranger(nth);
        self.logs.put(&name, 100 + nth as u64, &content, date);
    }

    /// What is there now is known to the tail.
    fn see(&mut self) {
        let life = self.life();
        life.seen = life.size();
    }

    fn write(&mut self, lines: usize) {
        let (_, mut content, _) = self.logs.names[LIVE].clone();
        for _ in 0..lines {
            let line = format!("{:06}{}\n", self.lines, "-".repeat(3 + self.lines % 30));
            self.lines += 1;
            content.push_str(&line);
            let end = content.len() as u64;
            self.life().lines.push((line, end));
        }
        self.logs.put(LIVE, LIVE_INODE, &content, self.date());
    }

    fn copy(&mut self) {
        let (_, content, written_ms) = self.logs.names[LIVE].clone();
        let modified_ms = match self.customs.keeps_dates {
            true => written_ms,
            false => self.date(),
        };
        self.copies += 1;
        let nth = self.copies;
        let inode = 1_000 + nth as u64;
        let name = if self.customs.is_numbered {
            for number in (1..nth).rev() {
                let log = self.logs.names.remove(&format!("{LIVE}.{number}")).unwrap();
                self.logs
                    .names
                    .insert(format!("{LIVE}.{}", number + 1), log);
            }
            format!("{LIVE}.1")
        } else {
            format!("a.{}.log", 20_261_000 + nth)
        };
        self.logs.put(&name, inode, &content, modified_ms);
        let life = self.life();
        life.copied = life.size();
    }

    fn look(&mut self) {
        let now = self.now();
        let settled = |_: FileId| Offset(0);
        let scans = self.tail.scans;
        let mut watch = Silent { is_watching: true };
        self.tail.look(&mut self.logs, &mut watch, &settled, now);
        if self.tail.scans > scans {
            self.see();
        }
    }

    /// Gives the next file its turn; whether there was one.
    fn turn(&mut self, want: usize) -> bool {
        let Some(id) = self.tail.next_turn() else {
            return false;
        };
        let file = self.tail.file(id).unwrap();
        let is_live = file.key.is_some_and(|key| key.inode == LIVE_INODE);
        let from = file.read;
        let now = self.now();
        let buffer = &mut self.buffer;
        let turn = self
            .tail
            .read(id, &mut self.logs, &mut |_| None, buffer, want, now);
        if turn == Turn::Nothing {
            if is_live {
                self.see();
            }
            return true;
        }
        if is_live {
            let life = self.lives.last_mut().unwrap();
            life.seen = life.seen.max(from.plus(buffer.bytes().len()).0);
        }
        let text = std::str::from_utf8(buffer.bytes()).unwrap();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.got.push_str(&text[..whole]);
        self.tail.consumed(id, buffer, whole);
        if turn == Turn::More {
            self.tail.requeue(id);
        }
        true
    }

    /// Lets the tail find and read all that is there.
    fn finish(&mut self) {
        self.act(Act::Hint);
        for _ in 0..100 {
            self.now_ms += 100;
            self.look();
            while self.turn(100_000) {}
        }
    }
}

/// What another log holds, larger than the one that is looked at.
fn stranger(nth: usize) -> String {
    let lines = (0..200).map(|line| format!("{STRANGE} {nth:03} {line:03} {}\n", "+".repeat(40)));
    lines.collect()
}

/// What is copied and cut while it is looked at is read once, and nothing of it is counted as lost;
/// of a log that is known it is read in order, too: shown for every call that such a look makes.
#[test]
fn what_is_copied_and_cut_during_a_look_is_not_lost() {
    let known = [
        Act::Look(100),
        Act::Write(9),
        Act::Hint,
        Act::Look(20),
        Act::Turn(100_000),
        Act::Copy,
        Act::Cut,
    ];
    for (nth, is_known) in (0..200).map(|nth| (nth / 2, nth % 2 == 0)) {
        let mut play = Play::new(Custom {
            pattern: "/l/a*log*",
            is_numbered: false,
            keeps_dates: false,
            is_dateless: false,
        });
        let before = known.into_iter().filter(|_| is_known);
        for act in before.chain([Act::Write(8)]) {
            play.act(act);
        }
        let now = play.logs.names.clone();
        for act in [Act::Copy, Act::Cut, Act::Write(2)] {
            play.act(act);
        }
        let next = std::mem::replace(&mut play.logs.names, now);
        play.logs.to_come = Some((nth, next));
        play.finish();
        // What was not there yet was hinted at.
        let rest = play.logs.to_come.take();
        play.logs
            .names
            .extend(rest.into_iter().flat_map(|(_, names)| names));
        play.finish();
        let lines = play.got.split_inclusive('\n');
        let mut lines: Vec<&str> = lines.filter(|line| !line.starts_with(STRANGE)).collect();
        if !is_known {
            lines.sort_unstable();
        }
        let written: Vec<&str> = play.lives.iter().flat_map(Life::texts).collect();
        assert_eq!(lines, written, "{nth} {is_known}");
        assert_eq!(play.tail.take_news().lost, [], "{nth} {is_known}");
    }
}

/// What is written beside the logs brings no scan forward, however busy it is: shown by hints of a file
/// that has the name a directory on the way could have, of an excluded log and of a compressed one, and by
/// one of a directory, which does.
#[test]
fn what_is_written_beside_the_logs_brings_no_scan_forward() {
    let text =
        "[[source]]\nname = \"a\"\npaths = [\"/l/**/*.log*\"]\nexclude = [\"*.debug.log\"]\n";
    let (config, _) = crate::config::Config::parse(&[("a.toml".into(), text.into())]).unwrap();
    let mut logs = Logs::default();
    let mut tail = Tail::new(Vec::new(), None);
    tail.set_sources(config.sources.clone(), &|_| true, &mut logs, &|_| Offset(0));
    for (nth, name) in (1..).zip(["a.log", "data.db", "a.debug.log", "a.log.1.gz"]) {
        logs.put(name, nth, "", 0);
    }
    let at = |mono_ms| Now {
        mono_ms,
        wall_ms: 0,
    };
    for mono_ms in [0, 100] {
        let mut watch = Silent { is_watching: true };
        tail.look(&mut logs, &mut watch, &|_| Offset(0), at(mono_ms));
    }
    let due = tail.next_due();
    for (path, is_news) in [
        ("/l/data.db", false),
        ("/l/a.debug.log", false),
        ("/l/a.log.1.gz", false),
        ("/l/gone", false),
        ("/l", true),
    ] {
        let hints = Hints {
            paths: vec![path.into()],
            rescan: false,
        };
        tail.hint(&hints, &mut logs, at(200));
        assert_eq!(tail.next_due() != due, is_news, "{path}");
    }
}

/// Files that come and go bring no scan forward, a directory that is gone with logs in it does: shown by as
/// many hints as are ever taken at once, beside as many logs as a source may have. To look through the logs
/// for each hint would take this test minutes.
#[test]
fn what_is_gone_matters_where_logs_were_in_it() {
    let mut logs = Logs::default();
    let mut tail = tail_of(Vec::new(), "/l/**/*.log", &mut logs, &|_| Offset(0));
    for nth in 0..20_000 {
        let path = PathBuf::from(format!("/l/{}/logs/{nth}.log", nth % 4_000));
        tail.by_path.insert(path.into(), FileId(nth));
    }
    let hints = |paths| Hints {
        paths,
        rescan: false,
    };
    let now = Now {
        mono_ms: 200,
        wall_ms: 0,
    };
    tail.sources[0].scan_due_ms = 30_000;
    let temporary = (0..16_384).map(|nth| format!("/l/{}/logs/{nth}.tmp", nth % 4_000).into());
    tail.hint(&hints(temporary.collect()), &mut logs, now);
    assert_eq!(tail.next_due(), Some(30_000));
    tail.hint(&hints(vec!["/l/2".into()]), &mut logs, now);
    assert_eq!(tail.next_due(), Some(0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// However often a log is copied and cut between two looks, and whatever of that hints tell:
    /// what a copy holds is read once and in order, and what was seen and is nowhere any more is
    /// counted, nothing else.
    #[test]
    fn what_is_copied_and_cut_is_read_in_order_or_counted(
        customs in customs(),
        acts in proptest::collection::vec(act(), 1..40),
    ) {
        let mut play = Play::new(customs);
        play.act(Act::Look(100));
        for act in acts.into_iter().flatten() {
            play.act(act);
        }
        play.finish();
        let (strange, mut lines): (Vec<&str>, Vec<&str>) =
            play.got.split_inclusive('\n').partition(|line| line.starts_with(STRANGE));
        let got: HashSet<&str> = lines.iter().copied().collect();
        let mut expected = String::new();
        let mut lost = 0;
        for life in &play.lives {
            let read = life.lines.iter().filter(|(line, _)| got.contains(line.as_str()));
            let read: u64 = read.map(|(line, _)| line.len() as u64).sum();
            let kept = match life.is_over {
                true => read.max(life.copied),
                false => life.size(),
            };
            lost += life.seen.saturating_sub(kept);
            let lines = life.lines.iter().filter(|(_, end)| *end <= kept);
            expected.extend(lines.map(|(line, _)| line.as_str()));
        }
        if play.customs.is_dateless {
            lines.sort_unstable();
        }
        prop_assert_eq!(lines.concat(), expected);
        let once: HashSet<&str> = strange.iter().copied().collect();
        prop_assert_eq!(once.len(), strange.len());
        let told = play.tail.take_news().lost;
        let counted: u64 = told.iter().map(|lost| lost.bytes).sum();
        prop_assert_eq!(counted, lost, "{:?}", told);
    }
}
