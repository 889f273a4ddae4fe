//! The list of items: `items.txt`.
//!
//! Its lines, by how they begin:
//!
//! | | |
//! |---|---|
//! | `# Title` | a section; what is before the first one is the page's introduction |
//! | `[RFC 4787 R1]` | an item of the section, under the name that marks use |
//! | `deviates: …` | why the item is not met, by design |
//! | `deviates in aws: …` | likewise, in this profile; tests show it in the other one |
//! | `only in rfc: …` | where the item holds, and what is so elsewhere |
//! | `note: …` | what else there is to say |
//! | anything else | goes on with the text before; an empty line ends a paragraph |

/// A heading, what follows it, and its items.
#[derive(Debug, Default)]
pub(crate) struct Section {
    /// Empty for the introduction.
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) items: Vec<Item>,
}

/// One line of the page.
#[derive(Debug, Default)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) says: String,
    pub(crate) deviation: Option<Deviation>,
    pub(crate) only: Option<(String, String)>,
    pub(crate) note: Option<String>,
}

/// Why an item is not met.
#[derive(Debug)]
pub(crate) struct Deviation {
    /// Where, if not everywhere.
    pub(crate) profile: Option<String>,
    pub(crate) reason: String,
}

/// Reads the list.
pub(crate) fn read(text: &str) -> Result<Vec<Section>, String> {
    let mut sections = vec![Section::default()];
    for line in text.lines() {
        let section = sections.last_mut().expect("the introduction at least");
        if let Some(title) = line.strip_prefix("# ") {
            sections.push(Section { title: title.to_owned(), ..Section::default() });
        } else if let Some(id) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section.items.push(Item { id: id.to_owned(), ..Item::default() });
        } else if let Some(item) = section.items.last_mut() {
            add(item, line).map_err(|what| format!("{}: {what}", item.id))?;
        } else {
            section.text.push_str(line);
            section.text.push('\n');
        }
    }
    Ok(sections)
}

/// Adds a line to an item.
fn add(item: &mut Item, line: &str) -> Result<(), String> {
    const PROFILES: [&str; 2] = ["aws", "rfc"];
    let profile = |name: &str| match PROFILES.iter().find(|profile| **profile == name) {
        Some(profile) => Ok((*profile).to_owned()),
        None => Err(format!("there is no profile {name}")),
    };
    let field = line.split_once(": ").map(|(name, text)| (name, text.to_owned()));
    match field {
        Some(("deviates", reason)) => item.deviation = Some(Deviation { profile: None, reason }),
        Some(("note", text)) => item.note = Some(text),
        Some((name, reason)) if name.starts_with("deviates in ") => {
            let profile = Some(profile(&name["deviates in ".len()..])?);
            item.deviation = Some(Deviation { profile, reason });
        }
        Some((name, text)) if name.starts_with("only in ") => {
            item.only = Some((profile(&name["only in ".len()..])?, text));
        }
        _ => {
            let open = if let Some(note) = &mut item.note {
                note
            } else if let Some((_, text)) = &mut item.only {
                text
            } else if let Some(deviation) = &mut item.deviation {
                &mut deviation.reason
            } else {
                &mut item.says
            };
            if !open.is_empty() && !line.is_empty() {
                open.push(' ');
            }
            open.push_str(line);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_with_what_they_say() {
        let text = "\
Of this page.

# One: a title
Its text.

[A 1]
Says this
and that.
deviates in aws: because
of it.
note: and more.

[A 2]
Says: nothing more.
";
        let sections = read(text).expect("a list");
        assert_eq!((sections.len(), sections[0].text.as_str()), (2, "Of this page.\n\n"));
        let Section { title, text, items } = &sections[1];
        assert_eq!((title.as_str(), text.as_str()), ("One: a title", "Its text.\n\n"));
        assert_eq!((items[0].id.as_str(), items[0].says.as_str()), ("A 1", "Says this and that."));
        let deviation = items[0].deviation.as_ref().expect("a deviation");
        assert_eq!(
            (deviation.profile.as_deref(), deviation.reason.as_str()),
            (Some("aws"), "because of it.")
        );
        assert_eq!(items[0].note.as_deref(), Some("and more."));
        assert_eq!(items[1].says, "Says: nothing more.");
        assert!(items[1].deviation.is_none());
    }

    #[test]
    fn a_profile_that_is_none_is_refused() {
        let problem = read("# One\n[A 1]\nonly in gcp: here").expect_err("no such profile");
        assert_eq!(problem, "A 1: there is no profile gcp");
    }
}
