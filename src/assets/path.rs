//! Where an asset lies in the store.
//!
//! A path is made of generated ids, numbers and hashes alone, and only a text that is exactly what
//! such a path prints is read back as one. So nothing that a caller writes becomes part of a path,
//! no two texts name one file, and a path cannot lead out of the store.

use std::fmt;

use uuid::Uuid;

use super::file_type::FileType;

/// The place of one asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssetPath {
    /// `{account_id}/{task_id}/{index}.{ext}`: a result of a task.
    Output {
        /// Who owns it.
        account_id: Uuid,
        /// The task that made it.
        task_id: Uuid,
        /// Its place among the task's results, from 0.
        index: u32,
        /// What it is.
        file_type: FileType,
    },
    /// `{account_id}/{task_id}/{index}.thumb.jpg`: the small picture of a result.
    Thumbnail {
        /// Who owns it.
        account_id: Uuid,
        /// The task that made it.
        task_id: Uuid,
        /// The place of its result among the task's results, from 0.
        index: u32,
    },
    /// `{account_id}/inputs/{sha256}`: a reference picture, named by its content.
    Input {
        /// Who owns it.
        account_id: Uuid,
        /// SHA-256 of the content in lower-case hexadecimal.
        sha256: String,
    },
    /// `{account_id}/uploads/{id}`: a picture that was sent ahead of the requests that name it.
    Upload {
        /// Who owns it.
        account_id: Uuid,
        /// What requests name it by.
        id: Uuid,
    },
}

impl AssetPath {
    /// Reads back what [`fmt::Display`] writes, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let path = Self::parse_leniently(text)?;
        (path.to_string() == text).then_some(path)
    }

    /// Takes other spellings of the same ids and numbers too; the caller compares.
    fn parse_leniently(text: &str) -> Option<Self> {
        let mut segments = text.splitn(3, '/');
        let account_id = segments.next()?.parse().ok()?;
        let folder = segments.next()?;
        let name = segments.next()?;
        if folder == "inputs" {
            return is_sha256(name).then(|| Self::Input {
                account_id,
                sha256: name.to_owned(),
            });
        }
        if folder == "uploads" {
            let id = name.parse().ok()?;
            return Some(Self::Upload { account_id, id });
        }
        let task_id = folder.parse().ok()?;
        let (index, ending) = name.split_once('.')?;
        let index = index.parse().ok()?;
        if ending == "thumb.jpg" {
            return Some(Self::Thumbnail {
                account_id,
                task_id,
                index,
            });
        }
        Some(Self::Output {
            account_id,
            task_id,
            index,
            file_type: FileType::from_extension(ending)?,
        })
    }
}

impl fmt::Display for AssetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output {
                account_id,
                task_id,
                index,
                file_type,
            } => write!(
                f,
                "{account_id}/{task_id}/{index}.{}",
                file_type.extension()
            ),
            Self::Thumbnail {
                account_id,
                task_id,
                index,
            } => write!(f, "{account_id}/{task_id}/{index}.thumb.jpg"),
            Self::Input { account_id, sha256 } => write!(f, "{account_id}/inputs/{sha256}"),
            Self::Upload { account_id, id } => write!(f, "{account_id}/uploads/{id}"),
        }
    }
}

impl From<&AssetPath> for object_store::path::Path {
    fn from(path: &AssetPath) -> Self {
        Self::from(path.to_string())
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
    const T: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

    #[test]
    fn written_paths_are_read_back() {
        let hash = "0123456789abcdef".repeat(4);
        for text in [
            format!("{A}/{T}/0.png"),
            format!("{A}/{T}/12.mp4"),
            format!("{A}/{T}/3.thumb.jpg"),
            format!("{A}/inputs/{hash}"),
            format!("{A}/uploads/{T}"),
        ] {
            let path = AssetPath::parse(&text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(path.to_string(), text);
            assert_eq!(object_store::path::Path::from(&path).as_ref(), text);
        }
    }

    #[test]
    fn anything_else_is_no_path() {
        let hash = "0123456789abcdef".repeat(4);
        for text in [
            String::new(),
            "../../etc/passwd".to_owned(),
            format!("{A}/{T}/../0.png"),
            format!("{A}/{T}/0.png/"),
            format!("/{A}/{T}/0.png"),
            format!("{A}/{T}/00.png"),
            format!("{A}/{T}/+1.png"),
            format!("{A}/{T}/-1.png"),
            format!("{A}/{T}/4294967296.png"),
            format!("{A}/{T}/0.jpeg"),
            format!("{A}/{T}/0.svg"),
            format!("{A}/{T}/0"),
            format!("{A}/{}/0.png", T.to_uppercase()),
            format!("{{{A}}}/{T}/0.png"),
            format!("{A}/inputs/{}", hash.to_uppercase()),
            format!("{A}/inputs/{}", &hash[1..]),
            format!("{A}/inputs/../{T}/0.png"),
            format!("{A}/uploads/{}", T.to_uppercase()),
            format!("{A}/uploads/{T}/0.png"),
            format!("{A}/uploads/"),
            format!("{A}%2f{T}/0.png"),
        ] {
            assert_eq!(AssetPath::parse(&text), None, "{text}");
        }
    }
}
