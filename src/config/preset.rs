//! Multi-line presets: which lines of a stack trace belong to the record before.
//!
//! All three are *continue* rules, matched against one line without its newline: a line that
//! matches belongs to the record before it. We chose them over *start* rules because a start rule
//! has to know how the application's ordinary lines begin, while traces look alike everywhere.
//! The price: a trace that follows an unrelated line without a head of its own joins that line.
//! Leading tabs are not relied on, since the CodeDeploy agent 2.x removes them.

/// Names and rules of the presets.
pub(super) const PRESETS: [(&str, &str); 3] = [("java", JAVA), ("python", PYTHON), ("go", GO)];

/// Indented lines, frames, causes, and the exception's own line where the logger has printed its
/// message first (`java.io.IOException: broken pipe`). `Exception in thread "main" …` starts a
/// record, as does every other line that begins in the first column.
const JAVA: &str = r"(?x)^(?:
    [\ \t]
  | at\ [\w.$/<>@~-]+\(.*\)
  | \.\.\.\ \d+\ (?:more|common\ frames\ omitted)
  | (?:Caused\ by|Suppressed|Wrapped\ by):\ ?
  | (?:[a-z_][\w$]*\.)+[A-Z][\w$]*(?:Exception|Error|Throwable|Failure)(?::|\s*$)
)";

/// The traceback's head, its indented frames, the last line with the exception
/// (`ValueError: …`, `app.errors.PaymentError`), and the sentences between chained exceptions with
/// the empty lines around them. An empty line therefore belongs to the record before it.
const PYTHON: &str = r"(?x)^(?:
    $
  | [\ \t]
  | Traceback\ \(most\ recent\ call\ last\):
  | During\ handling\ of\ the\ above\ exception
  | The\ above\ exception\ was\ the\ direct\ cause
  | (?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*
      (?:Error|Exception|ExceptionGroup|Warning|Exit|Interrupt|Iteration|Timeout|Fault)
      (?::\ .*|:)?$
)";

/// What follows `panic: …` or `fatal error: …`: the signal, goroutine heads, calls in the first
/// column, indented places, registers, `exit status 2`, and the empty lines between goroutines.
/// An empty line therefore belongs to the record before it.
const GO: &str = r"(?x)^(?:
    $
  | [\ \t]
  | \[signal\ 
  | goroutine\ \d+\ .*\[.*\]:$
  | runtime\ stack:$
  | created\ by\ 
  | panic\(.*\)$
  | [A-Za-z_][\w./~%-]*\.[\w.()*\[\]·-]*\(.*\)$
  | r(?:[abcd]x|[sd]i|[bs]p|\d+|ip|flags)\ +0x[0-9a-f]+$
  | [cfg]s\ +0x[0-9a-f]+$
  | exit\ status\ \d+$
)";

#[cfg(test)]
mod tests {
    use regex::Regex;

    /// How many records the rule makes of each text.
    fn records(preset: &str, text: &str) -> Vec<String> {
        let rule = super::PRESETS.iter().find(|(name, _)| *name == preset);
        let rule = Regex::new(rule.unwrap().1).unwrap();
        let mut records: Vec<String> = Vec::new();
        for line in text.lines() {
            match records.last_mut() {
                Some(record) if rule.is_match(line) => *record += &format!("\n{line}"),
                _ => records.push(line.to_owned()),
            }
        }
        records
    }

    /// A Java trace is one record with the line before it, and ordinary lines stay apart: shown
    /// with causes, suppressed exceptions, a logger's message, and frames without indentation.
    #[test]
    fn java() {
        let text = "\
2026-11-21 02:00:00 ERROR request failed
java.lang.IllegalStateException: no stock
\tat com.example.Shop.pay(Shop.java:10) ~[shop.jar:?]
\tSuppressed: java.io.IOException: closed
\t\t... 3 more
Caused by: java.sql.SQLException: gone
\tat com.example.Db.get(Db.java:5)
\t... 12 common frames omitted
2026-11-21 02:00:01 INFO at work (again)
Exception in thread \"main\" java.lang.OutOfMemoryError
at java.base/java.lang.Thread.run(Thread.java:1583)
at com.example.Main$1.<init>(Main.java:3)
... 2 more
at last (done)
java.util.logging is on";
        let records = records("java", text);
        let lines: Vec<usize> = records
            .iter()
            .map(|record| record.lines().count())
            .collect();
        assert_eq!(lines, [8, 1, 4, 1, 1]);
    }

    /// A Python traceback, chained or not, is one record with the line before it: shown with both
    /// sentences, qualified names and lines that only look alike.
    #[test]
    fn python() {
        let text = "\
ERROR:root:payment failed
Traceback (most recent call last):
  File \"shop.py\", line 3, in pay
    raise ValueError(\"x\")
ValueError: x

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File \"shop.py\", line 9, in <module>
app.errors.PaymentError: no money: 3
INFO:root:next
Error handling is fine
Traceback (most recent call last):
KeyboardInterrupt
WARNING: Errors: 3";
        let records = records("python", text);
        let lines: Vec<usize> = records
            .iter()
            .map(|record| record.lines().count())
            .collect();
        assert_eq!(lines, [11, 1, 3, 1]);
    }

    /// A Go panic with all its goroutines is one record: shown with a signal, method calls,
    /// registers and an ordinary line behind it.
    #[test]
    fn go() {
        let text = "\
2026/11/21 02:00:00 starting (v2)
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x48]

goroutine 1 [running]:
main.(*Shop).Pay(0x0, {0x6b5d50, 0xc0})
\t/src/shop.go:8 +0x1b
panic({0x4b2a40?, 0x4e1ab8?})
github.com/acme/x.Run[...](...)
net/http.(*conn).serve(0xc0000b2000, {0x6b5d50, 0xc00007c1b0})
created by net/http.(*Server).Serve in goroutine 1

goroutine 18 gp=0xc0 m=nil [chan receive, 2 minutes]:
main.main.func1()
rax    0x0
rflags 0x246
exit status 2
2026/11/21 02:00:09 main.start(3) took 2s
fatal error: all goroutines are asleep - deadlock!";
        let records = records("go", text);
        let lines: Vec<usize> = records
            .iter()
            .map(|record| record.lines().count())
            .collect();
        assert_eq!(lines, [1, 16, 1, 1]);
    }
}
