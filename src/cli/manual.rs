//! Man pages, made from the program itself: section 1 for the commands, 5 for the configuration, 8 for the service.

use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::examples::with_examples;
use super::{Failure, Line, exit, reference};

/// The command that is a service.
const SERVICE: &str = "serve";

/// When this release was made: a date of the build would make every build another one.
const RELEASED: &str = "2026-11-24";

/// A page: its section, its file's name, its text.
pub(super) struct Page {
    pub(super) section: u8,
    pub(super) file: String,
    pub(super) text: String,
}

/// Writes all of them below a directory: `man1/ravenry.1` and so on.
pub(super) fn write(directory: &Path) -> Result<(), Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::new(exit::CANT_CREATE, format!("{}: {error}", path.display()))
    };
    for Page { section, file, text } in pages().map_err(|error| Failure::new(exit::SOFTWARE, error))? {
        let place = directory.join(format!("man{section}"));
        std::fs::create_dir_all(&place).map_err(|error| failed(&place, error))?;
        let path = place.join(file);
        std::fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// Every page.
pub(super) fn pages() -> std::io::Result<Vec<Page>> {
    let mut command = with_examples(Line::command());
    // Names and help of all that is below are settled only then.
    command.build();
    let mut pages = vec![configuration()];
    commands(&command, "ravenry", &mut pages)?;
    Ok(pages)
}

fn commands(command: &Command, name: &str, pages: &mut Vec<Page>) -> std::io::Result<()> {
    let section = if command.get_name() == SERVICE { 8 } else { 1 };
    let page = Man::new(command.clone())
        .section(section.to_string())
        .date(RELEASED)
        .manual("Ravenry")
        .source(concat!("Ravenry ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    page.render_extra_section(&mut text)?;
    // A break beside a space is one too many for mandoc's taste.
    let mut text = String::from_utf8_lossy(&text).replace(".br\n\n.br\n", "\n");
    if section == 8 {
        text.push_str(SIGNALS);
    }
    text.push_str(&exit_status());
    text.push_str(&see_also(name));
    pages.push(Page { section, file: format!("{name}.{section}"), text });
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        commands(sub, &format!("{name}-{}", sub.get_name()), pages)?;
    }
    Ok(())
}

const SIGNALS: &str = ".SH SIGNALS
.TP
SIGTERM, SIGINT
End in order: messages that are under way get their answers, mail clients a BYE.
.TP
SIGHUP
Read again what can change while it runs; what cannot be used leaves the old in place, and is told in the log and in the \
metric ravenry_config_last_reload_successful.
.SH FILES
.TP
/etc/ravenry/ravenry.toml
The configuration; see ravenry.toml(5).
.TP
/var/lib/ravenry
The list, the journal and the queue.
.TP
/run/ravenry/admin.sock
The control socket, by which the other commands speak with it.
.SH ENVIRONMENT
.TP
RAVENRY_LOG
What is logged, such as info,ravenry::mupdate=debug.
";

fn exit_status() -> String {
    let rows = exit::ALL.iter().map(|(code, meaning)| format!(".TP\n{code}\n{}\n", escaped(meaning.trim())));
    format!(".SH \"EXIT STATUS\"\n{}", rows.collect::<String>())
}

fn see_also(name: &str) -> String {
    let others = [("ravenry", 1), ("ravenry.toml", 5), ("ravenry-serve", 8)];
    let others = others.iter().filter(|(other, _)| *other != name);
    let others: Vec<String> =
        others.map(|(other, section)| format!("{}({section})", escaped(other))).collect();
    format!(".SH \"SEE ALSO\"\n{}\n", others.join(", "))
}

/// ravenry.toml(5): every key of the example with the words that stand above it.
fn configuration() -> Page {
    let mut text = format!(
        ".TH ravenry.toml 5 {RELEASED} \"Ravenry {}\" \"Ravenry\"\n.SH NAME\nravenry.toml \\- Ravenry's configuration\n\
         .SH DESCRIPTION\nA TOML file, by default /etc/ravenry/ravenry.toml. Secrets stand in files of their own. A key that is \
         not known is an error. Values are shown as they are by default, or as an example where a key has to be given.\n",
        env!("CARGO_PKG_VERSION")
    );
    for section in reference::sections() {
        let title =
            if section.name.is_empty() { "TOP LEVEL".to_owned() } else { format!("[{}]", section.name) };
        text.push_str(&format!(".SH \"{}\"\n", escaped(&title)));
        if !section.about.is_empty() {
            text.push_str(&format!("{}\n", escaped(&section.about)));
        }
        for key in &section.keys {
            for line in &key.lines {
                text.push_str(&format!(".TP\n\\fB{}\\fR\n", escaped(line)));
            }
            text.push_str(&format!(
                "{}\n",
                if key.about.is_empty() { "See above.".into() } else { escaped(&key.about) }
            ));
        }
    }
    text.push_str(&see_also("ravenry.toml"));
    Page { section: 5, file: "ravenry.toml.5".into(), text }
}

/// Text for roff: nothing in it is a command or an escape.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = text
        .lines()
        .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.into() });
    lines.collect::<Vec<_>>().join("\n")
}
