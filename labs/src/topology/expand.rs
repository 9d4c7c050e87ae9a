//! What is replaced in a topology file before and after it is parsed: environment variables, containerlab's magic
//! words, and the words of a command line.
//!
//! Go templates are rendered before, by `template`.

/// Replaces `$NAME`, `${NAME}` and `${NAME:=default}`; a variable without value and default stays as it is written.
#[must_use]
pub fn environment(text: &str, env: &dyn Fn(&str) -> Option<String>) -> String {
    let mut whole = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let code = line.trim_start();
        if code.starts_with('#') {
            whole.push_str(line);
            continue;
        }
        expand_line(line, env, &mut whole);
    }
    whole
}

fn expand_line(line: &str, env: &dyn Fn(&str) -> Option<String>, whole: &mut String) {
    let mut rest = line;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        whole.push_str(before);
        let (length, name, default) = variable(&from[1..]);
        match env(name).or_else(|| default.map(str::to_owned)) {
            Some(value) if !name.is_empty() => whole.push_str(&value),
            _ => whole.push_str(&from[..=length]),
        }
        rest = &from[1 + length..];
    }
    whole.push_str(rest);
}

/// Length of the reference behind the dollar sign, the variable's name (empty: none), and its default.
fn variable(text: &str) -> (usize, &str, Option<&str>) {
    if let Some(inner) = text.strip_prefix('{') {
        let Some(end) = inner.find('}') else {
            return (0, "", None);
        };
        let (name, default) = match inner[..end].split_once(":=") {
            Some((name, default)) => (name, Some(default)),
            None => (&inner[..end], None),
        };
        return (end + 2, name, default);
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let name = &text[..end];
    if name.starts_with(|c: char| c.is_ascii_digit()) { (0, "", None) } else { (end, name, None) }
}

/// containerlab's magic words, replaced in binds, environment and commands of a node.
#[must_use]
pub fn magic(text: &str, lab: &str, node: &str, folder: &str) -> String {
    if !text.contains("__clab") {
        return text.to_owned();
    }
    text.replace("__clabNodeName__", node)
        .replace("__clabLabName__", lab)
        .replace("__clabNodeDir__", &format!("{folder}/clab-{lab}/{node}"))
        .replace("__clabDir__", &format!("{folder}/clab-{lab}"))
}

/// Splits a command as a shell would, without running one: quotes and backslashes, nothing else.
///
/// # Errors
/// When a quote is not closed.
pub fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("a quote is not closed in `{line}`"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "TAG").then(|| "v1".to_owned())
    }

    #[test]
    fn variables_have_values_defaults_or_stay() {
        let read = |text| environment(text, &env);
        assert_eq!(read("image: frr:$TAG\n"), "image: frr:v1\n");
        assert_eq!(read("image: frr:${TAG}-x"), "image: frr:v1-x");
        assert_eq!(read("image: frr:${NONE:=v2}"), "image: frr:v2");
        assert_eq!(read("cost: $5 ${NONE} $NONE $"), "cost: $5 ${NONE} $NONE $");
        assert_eq!(read("# $TAG\n"), "# $TAG\n");
    }

    #[test]
    fn commands_are_split_like_a_shell_does() {
        assert_eq!(words("sh -c 'ip a | wc -l'").unwrap(), ["sh", "-c", "ip a | wc -l"]);
        assert_eq!(words(r#"echo "a \"b\"" c\ d ''"#).unwrap(), ["echo", "a \"b\"", "c d", ""]);
        assert!(words("echo 'a").is_err());
    }
}
