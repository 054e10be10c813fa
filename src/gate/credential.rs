//! Where a request carries its key. Pure, and the same for every face: each only lends its headers.

use super::refusal::CredentialFault;

/// The key or token among the headers of a request: `Authorization: Bearer …` (RFC 6750 §2.1, the scheme in any
/// case) or `x-api-key: …`. `header` looks one up by its lower-case name. None: there is neither.
pub fn credential_from<'h>(
    header: impl Fn(&str) -> Option<&'h str>,
) -> Result<Option<&'h str>, CredentialFault> {
    let bearer = header("authorization").map(bearer_token).transpose()?;
    let api_key = header("x-api-key").map(str::trim);
    match (bearer, api_key) {
        (Some(bearer), Some(api_key)) if bearer != api_key => Err(CredentialFault::Ambiguous),
        (bearer, api_key) => Ok(bearer.or(api_key)),
    }
}

fn bearer_token(value: &str) -> Result<&str, CredentialFault> {
    let (scheme, token) = value
        .trim()
        .split_once(' ')
        .ok_or(CredentialFault::Scheme)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(CredentialFault::Scheme);
    }
    Ok(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        authorization: Option<&'static str>,
        api_key: Option<&'static str>,
    ) -> Result<Option<&'static str>, CredentialFault> {
        credential_from(|name| match name {
            "authorization" => authorization,
            "x-api-key" => api_key,
            other => panic!("asked for {other}"),
        })
    }

    #[test]
    fn the_key_is_found_in_either_place() {
        let table = [
            (None, None, Ok(None)),
            (Some("Bearer k"), None, Ok(Some("k"))),
            (Some("bearer k"), None, Ok(Some("k"))),
            (Some("BEARER   k "), None, Ok(Some("k"))),
            (None, Some(" k "), Ok(Some("k"))),
            (Some("Bearer k"), Some("k"), Ok(Some("k"))),
            (Some("Bearer k"), Some("j"), Err(CredentialFault::Ambiguous)),
            (Some("Basic k"), None, Err(CredentialFault::Scheme)),
            (Some("Basic k"), Some("k"), Err(CredentialFault::Scheme)),
            (Some("k"), None, Err(CredentialFault::Scheme)),
            (Some("Bearer"), None, Err(CredentialFault::Scheme)),
            (Some(""), None, Err(CredentialFault::Scheme)),
        ];
        for (authorization, api_key, expected) in table {
            assert_eq!(
                read(authorization, api_key),
                expected,
                "{authorization:?} {api_key:?}"
            );
        }
    }
}
