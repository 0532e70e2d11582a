//! Names the word that was probably meant.

/// A cure for an unknown word: the nearest of the known ones, or all of them.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here are {}", known.join(", ")),
    }
}

fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(word, candidate);
    let near = known.iter().copied().min_by_key(|candidate| distance(candidate))?;
    (distance(near) <= allowed_typos(near)).then_some(near)
}

/// A third of the word, so that short words do not all resemble each other.
fn allowed_typos(word: &str) -> usize {
    (word.len() / 3).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["address", "port", "weight"];

    #[test]
    fn names_the_nearest_word() {
        assert_eq!(did_you_mean("adress", &KNOWN), "did you mean `address`?");
        assert_eq!(did_you_mean("prot", &KNOWN), "did you mean `port`?");
    }

    #[test]
    fn names_all_when_none_is_near() {
        assert_eq!(did_you_mean("colour", &KNOWN), "known here are address, port, weight");
    }
}
