//! Pages of lists, and the opaque tokens between them.
//!
//! A token names the last item of its page and the request it belongs to. It is not secret and
//! carries no authority: what it names is only ever compared.

use std::fmt::Write;
use std::ops::RangeInclusive;

use patchwave_schemas::ids::derived_uuid;

use super::Error;

/// Hex digits of the request's fingerprint at the start of a token.
const FINGERPRINT_DIGITS: usize = 32;

/// Which page is asked for.
#[derive(Debug)]
pub(crate) struct Paging {
    size: usize,
    /// Key of the last item seen.
    after: Option<String>,
    fingerprint: String,
}

impl Paging {
    /// Reads `MaxResults` and `NextToken`. `binding` is what the token must have been made for:
    /// the operation and its other parameters. Without `MaxResults` a page is as large as allowed.
    pub(crate) fn new(
        binding: &str,
        max_results: Option<i64>,
        next_token: Option<&str>,
        allowed: RangeInclusive<i64>,
    ) -> Result<Self, Error> {
        // The model has checked the range; where SSM has none, a page is as large as allowed.
        let size = max_results.unwrap_or(*allowed.end()).clamp(*allowed.start(), *allowed.end());
        let size = usize::try_from(size).expect("page sizes are small and not negative");
        let fingerprint = derived_uuid("page:", binding).simple().to_string();
        let after = next_token.map(|token| read_token(token, &fingerprint)).transpose()?;
        Ok(Self { size, after, fingerprint })
    }

    /// Items on the page.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Rows to read from the store: one more than the page holds tells whether there is another.
    pub(crate) fn rows(&self) -> u32 {
        u32::try_from(self.size + 1).unwrap_or(u32::MAX)
    }

    /// Key of the last item seen.
    pub(crate) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// The key, for lists that are ordered by instant and id.
    pub(crate) fn after_instant(&self) -> Result<Option<(i64, &str)>, Error> {
        self.after()
            .map(|key| {
                let (millis, id) = key.split_once('/').ok_or_else(invalid_token)?;
                Ok((millis.parse().map_err(|_| invalid_token())?, id))
            })
            .transpose()
    }

    /// Cuts the page out of a whole list, in ascending order of `key`.
    pub(crate) fn of_list<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        // Databases order text in ways of their own.
        items.sort_by_cached_key(&key);
        let rest = items.into_iter().filter(|item| self.after().is_none_or(|after| key(item).as_str() > after));
        self.of_rows(rest.take(self.size + 1).collect(), key)
    }

    /// Makes the page of rows that were read from after the last key, at least one more than the
    /// page holds if there are so many.
    pub(crate) fn of_rows<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        if rows.len() <= self.size {
            return (rows, None);
        }
        rows.truncate(self.size);
        let token = rows.last().map(|last| self.token(&key(last)));
        (rows, token)
    }

    /// The token of the page that follows the item with this key.
    pub(crate) fn token(&self, key: &str) -> String {
        let mut token = self.fingerprint.clone();
        for byte in key.bytes() {
            write!(token, "{byte:02x}").expect("writing to a String cannot fail");
        }
        token
    }
}

/// The key of an item in a list that is ordered by instant and id.
pub(crate) fn instant_key(at: jiff::Timestamp, id: impl std::fmt::Display) -> String {
    format!("{}/{id}", at.as_millisecond())
}

fn read_token(token: &str, fingerprint: &str) -> Result<String, Error> {
    let (head, key) = token.split_at_checked(FINGERPRINT_DIGITS).ok_or_else(invalid_token)?;
    if head != fingerprint || !key.len().is_multiple_of(2) {
        return Err(invalid_token());
    }
    let bytes: Option<Vec<u8>> =
        (0..key.len()).step_by(2).map(|at| u8::from_str_radix(key.get(at..at + 2)?, 16).ok()).collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid_token)
}

fn invalid_token() -> Error {
    Error::new(
        "InvalidNextToken",
        "NextToken is not one that this operation gave out for these parameters; \
         allowed is the NextToken of the page before",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(token: Option<&str>) -> Paging {
        Paging::new("List{}", Some(2), token, 1..=50).expect("a valid page")
    }

    #[test]
    fn pages_cover_a_list_once_and_in_order() {
        let mut seen = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..3 {
            let items = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
            let (part, next) = page(token.as_deref()).of_list(items, Clone::clone);
            seen.extend(part);
            token = next;
        }
        assert_eq!(seen.join(""), "abcde");
        assert_eq!(token, None);
    }

    #[test]
    fn item_that_vanishes_between_pages_breaks_nothing() {
        let (_, token) = page(None).of_list(vec!["a".to_owned(), "b".into(), "c".into()], Clone::clone);
        let (part, _) = page(token.as_deref()).of_list(vec!["a".to_owned(), "c".into()], Clone::clone);
        assert_eq!(part, ["c"]);
    }

    #[test]
    fn foreign_and_garbled_tokens_are_refused() {
        let (_, token) = page(None).of_list(vec!["a".to_owned(), "b".into(), "c".into()], Clone::clone);
        let token = token.expect("a second page");
        for bad in [String::new(), "x".into(), "é".repeat(40), format!("{token}zz"), format!("{token}f")] {
            let error = Paging::new("List{}", None, Some(&bad), 1..=50).expect_err(&bad);
            assert_eq!(error.code(), "InvalidNextToken");
        }
        let error = Paging::new("List{\"Name\":\"x\"}", None, Some(&token), 1..=50).expect_err("another request");
        assert_eq!(error.code(), "InvalidNextToken");
    }
}
