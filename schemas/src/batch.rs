//! Many messages under one signature: a hash tree whose root is signed.
//!
//! An Ed25519 signature takes longer than anything else that the control plane does for one command,
//! so what is released together is signed together. Each message is a leaf of a binary tree; with
//! it go the hashes that stand beside its way to the root, so it is verified without the others. The
//! tree is that of RFC 9162, section 2.1: leaves and inner nodes are hashed with different first
//! bytes, so that neither can be taken for the other.
//!
//! Only the shape is here; whoever signs or verifies brings SHA-256.

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// What SHA-256 makes of some bytes.
pub type HashOf = fn(&[u8]) -> Hash;

/// Leaves of a tree at most. A tree of 64 makes the signature's share of a message small; a larger
/// one would only lengthen every message by another 44 characters for each doubling.
pub const LEAVES_MAX: usize = 64;

/// Steps of a path that are followed at most: more than any tree of ours has.
const STEPS_MAX: usize = 16;

/// Bytes of a step: on which side the other hash stands (0 left, 1 right), and that hash.
const STEP_BYTES: usize = 1 + size_of::<Hash>();

const LEFT: u8 = 0;
const RIGHT: u8 = 1;

/// The text whose signature vouches for every message under a root.
#[must_use]
pub fn root_text(root: &Hash) -> Vec<u8> {
    [b"patchwave-batch-v1\n".as_slice(), root].concat()
}

/// The hash of a leaf with this text.
#[must_use]
pub fn leaf(text: &[u8], hash: HashOf) -> Hash {
    hash(&[&[0], text].concat())
}

fn inner(left: &Hash, right: &Hash, hash: HashOf) -> Hash {
    hash(&[&[1], left.as_slice(), right].concat())
}

/// The root above these leaves, and the path of each; of no leaves there is none.
#[must_use]
pub fn tree(leaves: &[Hash], hash: HashOf) -> Option<(Hash, Vec<Vec<u8>>)> {
    let mut paths = vec![Vec::new(); leaves.len()];
    let mut level = leaves.to_vec();
    // How many leaves stand under each hash of the level, the last perhaps excepted.
    let mut width = 1;
    while level.len() > 1 {
        for (index, path) in paths.iter_mut().enumerate() {
            let at = index / width;
            let (side, beside) = if at.is_multiple_of(2) { (RIGHT, at + 1) } else { (LEFT, at - 1) };
            // The last one of an odd number goes up as it is.
            if let Some(other) = level.get(beside) {
                path.push(side);
                path.extend_from_slice(other);
            }
        }
        let above = level.chunks(2).map(|pair| match pair {
            [left, right] => inner(left, right, hash),
            alone => alone[0],
        });
        level = above.collect();
        width *= 2;
    }
    level.pop().map(|root| (root, paths))
}

/// The root to which a leaf's path leads; `None` for bytes that are no path.
#[must_use]
pub fn root_of(leaf: Hash, path: &[u8], hash: HashOf) -> Option<Hash> {
    if !path.len().is_multiple_of(STEP_BYTES) || path.len() > STEP_BYTES * STEPS_MAX {
        return None;
    }
    path.chunks_exact(STEP_BYTES).try_fold(leaf, |below, step| {
        let (side, other) = step.split_first()?;
        let other: &Hash = other.try_into().ok()?;
        match *side {
            LEFT => Some(inner(other, &below, hash)),
            RIGHT => Some(inner(&below, other, hash)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No hash to sign with, but one that tells inputs apart: FNV-1a over each of four seeds.
    fn mixed(bytes: &[u8]) -> Hash {
        let mut out = [0; 32];
        for (seed, part) in (1_u64..).zip(out.chunks_exact_mut(8)) {
            let start = 0xcbf2_9ce4_8422_2325_u64.wrapping_mul(seed);
            let mix = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            part.copy_from_slice(&bytes.iter().fold(start, mix).to_le_bytes());
        }
        out
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|index| leaf(index.to_string().as_bytes(), mixed)).collect()
    }

    #[test]
    fn every_leaf_leads_to_the_root_by_its_own_path_and_by_no_other() {
        for count in 1..=LEAVES_MAX + 1 {
            let leaves = leaves(count);
            let (root, paths) = tree(&leaves, mixed).expect("there are leaves");
            for (at, one) in leaves.iter().enumerate() {
                for (of, path) in paths.iter().enumerate() {
                    assert_eq!(
                        root_of(*one, path, mixed) == Some(root),
                        at == of,
                        "{at} by the path of {of} of {count}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_message_alone_is_its_own_root() {
        let leaves = leaves(1);
        assert_eq!(tree(&leaves, mixed), Some((leaves[0], vec![Vec::new()])));
        assert_eq!(tree(&[], mixed), None);
    }

    #[test]
    fn an_inner_node_is_no_leaf() {
        let leaves = leaves(2);
        let (root, _) = tree(&leaves, mixed).expect("there are leaves");
        let text = [leaves[0].as_slice(), &leaves[1]].concat();
        assert_ne!(leaf(&text, mixed), root);
    }

    #[test]
    fn what_is_no_path_leads_nowhere() {
        let one = leaves(1)[0];
        let step = |side| [[side].as_slice(), &one].concat();
        assert!(root_of(one, &step(LEFT), mixed).is_some());
        for path in [step(2), step(LEFT)[1..].to_vec(), vec![0], step(RIGHT).repeat(STEPS_MAX + 1)] {
            assert_eq!(root_of(one, &path, mixed), None);
        }
    }
}
