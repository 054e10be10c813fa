//! What a form sends, and what a link carries.

/// Fields by name, in the order in which they were sent.
#[derive(Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `name=value&…`.
    pub fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The fields that were read elsewhere.
    pub fn of(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The field; empty when it was not sent.
    pub fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// Every value that the field was sent with.
    pub fn all<'f>(&'f self, name: &str) -> impl Iterator<Item = &'f str> {
        let same =
            move |(found, value): &'f (String, String)| (found == name).then_some(value.as_str());
        self.0.iter().filter_map(same)
    }
}

/// `text` if it is a path of this server: so that no link leads from here to somewhere else.
pub fn local_path(text: &str) -> Option<&str> {
    let is_path = text.starts_with('/') && !text.starts_with("//");
    // Browsers take a backslash for a slash, and skip over control characters (URL standard, "basic URL parser").
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    (is_path && is_plain && text.len() <= 512).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_server_are_led_to() {
        for good in ["/", "/settings/apikeys", "/models?x=1#a", "/a//b"] {
            assert_eq!(local_path(good), Some(good));
        }
        let long = format!("/{}", "a".repeat(600));
        for bad in [
            "",
            "settings",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            " /x",
            "/x y",
            "javascript:alert(1)",
            "/ä",
            &long,
        ] {
            assert_eq!(local_path(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn fields_are_found_by_name() {
        let form = Form::parse(b"scopes=read&name=a+b%3C&scopes=keys");
        assert_eq!(form.get("name"), "a b<");
        assert_eq!(form.get("other"), "");
        assert_eq!(form.all("scopes").collect::<Vec<_>>(), ["read", "keys"]);
    }
}
