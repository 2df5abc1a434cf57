//! The commands and options of `weft ca`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use weft_identity::{NodeId, ServiceName};

/// `weft ca`.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Shows roots, signers and operators with their standing, and which member has seen what.
    Show,
    /// Changes the signers.
    Signer {
        /// What to do with signers.
        #[command(subcommand)]
        command: SignerCommand,
    },
    /// Changes the roots: prepare, activate, taint, revoke, in this order.
    Root {
        /// What to do with roots.
        #[command(subcommand)]
        command: RootCommand,
    },
    /// Makes an operator's key on this machine and prints its public half, for `weft ca operator add --public-key`.
    Key {
        /// Where to write it, encrypted with a passphrase of its own.
        file: PathBuf,
        /// A file with the passphrase. WEFT_PASSPHRASE serves, too; with neither it is asked for.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Changes the operators.
    Operator {
        /// What to do with operators.
        #[command(subcommand)]
        command: OperatorCommand,
    },
}

/// What opens the root key.
#[derive(Debug, Args)]
pub struct KeyOptions {
    /// The encrypted key of the active root.
    #[arg(long, value_name = "FILE")]
    pub root_key: PathBuf,
    /// A file with its passphrase. WEFT_PASSPHRASE serves, too; with neither it is asked for.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// `weft ca signer`.
#[derive(Debug, Subcommand)]
pub enum SignerCommand {
    /// Lets a member with the signer role issue certificates.
    Add {
        /// The node; it joined with a token of `weft token create --signer`.
        node: NodeId,
        /// A service that it may speak for; may be repeated; all if none.
        #[arg(long, value_name = "SERVICE", value_delimiter = ',')]
        scope: Vec<ServiceName>,
        /// The root's key.
        #[command(flatten)]
        keys: KeyOptions,
    },
    /// Lets a signer issue nothing more; its certificates are replaced by those of the others.
    Retire {
        /// The signer.
        node: NodeId,
        /// The root's key.
        #[command(flatten)]
        keys: KeyOptions,
    },
    /// Lets nothing that a signer issued count any more.
    Revoke {
        /// The signer.
        node: NodeId,
        /// Also while members still depend on it; they must join again.
        #[arg(long)]
        anyway: bool,
        /// The root's key.
        #[command(flatten)]
        keys: KeyOptions,
    },
}

/// `weft ca root`.
#[derive(Debug, Subcommand)]
pub enum RootCommand {
    /// Makes a new root key and lets every member know its certificate.
    Prepare {
        /// Where to write the new root's key, encrypted with the same passphrase.
        #[arg(long, value_name = "FILE")]
        new_root_key: PathBuf,
        /// The active root's key.
        #[command(flatten)]
        keys: KeyOptions,
    },
    /// Lets the prepared root sign every signer anew.
    Activate {
        /// The prepared root's key.
        #[arg(long, value_name = "FILE")]
        new_root_key: PathBuf,
        /// The active root's key.
        #[command(flatten)]
        keys: KeyOptions,
    },
    /// Lets every member replace what the old root stands behind.
    Taint {
        /// The old root's fingerprint, or the start of it.
        root: String,
        /// The new root's key.
        #[command(flatten)]
        keys: KeyOptions,
    },
    /// Lets nothing that the old root stands behind count any more.
    Revoke {
        /// The old root's fingerprint, or the start of it.
        root: String,
        /// Also while members still depend on it; they must join again.
        #[arg(long)]
        anyway: bool,
        /// The new root's key.
        #[command(flatten)]
        keys: KeyOptions,
    },
}

/// `weft ca operator`.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Lets a key change policies: a new one, or one that an operator made on another machine.
    Add {
        /// Where to write a new key, encrypted with the same passphrase.
        #[arg(long, value_name = "FILE", required_unless_present = "public_key")]
        new_operator_key: Option<PathBuf>,
        /// In place of a new key: the public key, 64 hexadecimal digits, of one that exists.
        #[arg(long, value_name = "HEX", conflicts_with = "new_operator_key")]
        public_key: Option<String>,
        /// A service whose policies it may change; may be repeated; all if none.
        #[arg(long, value_name = "SERVICE", value_delimiter = ',')]
        scope: Vec<ServiceName>,
        /// After this time it signs nothing more; without it the key counts until it is retired.
        #[arg(long, value_parser = super::span, value_name = "SPAN")]
        ttl: Option<Duration>,
        /// The root's key.
        #[command(flatten)]
        keys: KeyOptions,
    },
    /// Lets an operator key change nothing more.
    Retire {
        /// The public key, as `weft ca show` names it.
        key: String,
        /// The root's key.
        #[command(flatten)]
        keys: KeyOptions,
    },
}
