//! The reference of all keys, made from the command line's own definition so that it cannot fall behind.

use std::fmt::Write as _;

use clap::{Arg, CommandFactory as _};

use super::Cli;

const HEAD: &str = "# Configuration

Every key can stand in a TOML file (`--config FILE` or `MOQGATE_CONFIG`), in the environment, or on the command line. A flag
wins over the environment, the environment over the file, the file over the default. An unknown key is an error. Nothing has
to be configured.

An address (`ADDR`) is `IP:PORT`, or `PORT` alone for every address of the machine; port 0 picks a free one, `off` turns the
listener off. A time is a whole number with `ms`, `s`, `m` or `h`.

";

const TAIL: &str = "
## Example

```toml
node = \"ams-1\"

[tls]
cert = \"/etc/moqgate/cert.pem\"
key = \"/etc/moqgate/key.pem\"

[[objective]]
broadcast = \"live/**\"
transport = \"moq\"
percentile = 99
below = \"500ms\"
window = \"5m\"

[srt]
latency = \"400ms\"

[http]
listen = \"127.0.0.1:8080\"

[relay]
url = [\"https://relay.example.com/anon\"]

[[push]]
path = \"live/cam0\"
url = \"rtmps://live.example.com/app/stream-key\"

[[pull]]
path = \"live/studio\"
url = \"srt://studio.example.com:9000?streamid=#!::r=program,m=request&latency=300\"
```

## `[[push]]` and `[[pull]]`

| key | meaning |
|---|---|
| `path` | The local broadcast, one and no pattern. |
| `url` | Where to. See below. |
| `tls-fingerprint` | Believe only the certificate with this SHA-256, 64 hex digits; for `rtmps://`. Default: those of the system's authorities. |

Several pushes may have the same path; a pull is the only source of its path. In the environment they are separated by spaces. A push waits for its
broadcast, and each calls again when it fails or ends: after 1 s, then up to 30 s.

| URL | parts |
|---|---|
| `srt://host:9000?…` | `streamid`, `passphrase` (10 to 79 bytes), `pbkeylen` (16, 24, 32), `latency` (ms), `mode` (`caller` alone) |
| `rtmp://host:1935/app/key?…` | The last segment with the query is the stream key. `user:password@` in front of the host answers servers that ask as Adobe's do. |
| `rtmps://host:443/app/key?…` | The same over TLS. |

A server that does not say which codecs it knows (enhanced RTMP) is sent H.264, AAC and MP3 alone.

## Exit codes

| code | meaning |
|---|---|
| 0 | stopped in order |
| 1 | stopped, and something was cut off: the grace period ended, or a second signal came |
| 2 | did not start: wrong flag or key, port in use, certificate or key that cannot be used; one line on standard error says which |

This file is printed by `moqgate config-reference`; a test compares the two.
";

/// The whole of `docs/CONFIG.md`.
pub(crate) fn markdown() -> String {
    let mut text = String::from(HEAD);
    let mut section = None;
    let command = Cli::command();
    for arg in command.get_arguments().filter(|arg| is_key(arg)) {
        let (name, key) = arg.get_id().as_str().split_once('.').unwrap_or(("", arg.get_id().as_str()));
        if section != Some(name) {
            let _ = open_section(&mut text, name);
            section = Some(name);
        }
        let _ = row(&mut text, key, arg);
    }
    text + TAIL
}

fn is_key(arg: &Arg) -> bool {
    !matches!(arg.get_id().as_str(), "mode" | "config" | "help" | "version")
}

fn open_section(text: &mut String, name: &str) -> std::fmt::Result {
    match name {
        "" => writeln!(text, "## Top level\n")?,
        name => writeln!(text, "\n## `[{name}]`\n")?,
    }
    writeln!(text, "| key | flag | environment | meaning |\n|---|---|---|---|")
}

fn row(text: &mut String, key: &str, arg: &Arg) -> std::fmt::Result {
    let flag = arg.get_long().unwrap_or_default();
    let variable = arg.get_env().unwrap_or_default().to_string_lossy();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let value =
        arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default();
    let separated = match arg.get_num_args().is_some_and(|count| count.min_values() == 0) {
        true => format!("[={value}]"),
        false => format!(" {value}"),
    };
    let help = if help.ends_with('.') { help } else { help + "." };
    writeln!(text, "| `{key}` | `--{flag}{separated}` | `{variable}` | {help} |")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::raw::Raw;
    use super::*;

    #[test]
    fn the_document_is_the_reference() {
        let document = include_str!("../../../docs/CONFIG.md");
        assert!(document == markdown(), "write it anew: moqgate config-reference > docs/CONFIG.md");
    }

    #[test]
    fn every_key_has_a_variable_of_the_same_name_as_its_flag() {
        for arg in Cli::command().get_arguments().filter(|arg| is_key(arg)) {
            let flag = arg.get_long().expect("every key is a flag");
            let variable = format!("MOQGATE_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(arg.get_env().expect("every key is a variable"), &*variable);
        }
    }

    #[test]
    fn flags_and_file_have_the_same_keys() {
        let flags: BTreeSet<String> = Cli::command()
            .get_arguments()
            .filter(|arg| is_key(arg))
            .map(|arg| arg.get_id().as_str().to_owned())
            .collect();
        let mut file = BTreeSet::new();
        for top in fields_of("") {
            match fields_of(&format!("[{top}]\n")) {
                below if below == fields_of("") || below.is_empty() => drop(file.insert(top)),
                below => file.extend(below.into_iter().map(|key| format!("{top}.{key}"))),
            }
        }
        assert_eq!(flags, file);
    }

    /// The fields of a section as the deserializer lists them when it meets one it does not know.
    fn fields_of(section: &str) -> Vec<String> {
        let error = toml::from_str::<Raw>(&format!("{section}no-such-key = 1")).expect_err("an unknown key");
        let listed =
            error.message().split_once("expected").map(|(_, list)| list).unwrap_or_default().to_owned();
        match error.message().starts_with("unknown field") {
            true => listed.split('`').skip(1).step_by(2).map(str::to_owned).collect(),
            false => Vec::new(),
        }
    }
}
