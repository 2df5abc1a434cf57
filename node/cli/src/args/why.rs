//! The options of `weft why` and `weft route`.

use clap::Args;
use weft_identity::{ServiceName, granted_label};

/// `weft why`.
#[derive(Debug, Args)]
pub struct WhyOptions {
    /// The id that a refusal carried in `weft-refusal`; or who calls: a service, node/NAME or gw/NAME.
    #[arg(value_name = "ID|FROM")]
    pub subject: String,
    /// The service that is called.
    pub to: Option<ServiceName>,
    /// The method; without it, a stream.
    #[arg(requires = "path")]
    pub method: Option<String>,
    /// The path with its query.
    pub path: Option<String>,
    /// A label that the caller's certificate is supposed to carry; may be repeated.
    #[arg(long = "label", value_parser = granted_label, value_name = "NAME=VALUE", requires = "to")]
    pub labels: Vec<(String, String)>,
    /// A header of the request, `Name: value`; may be repeated.
    #[arg(short = 'H', long = "header")]
    pub headers: Vec<String>,
}

/// `weft route`.
#[derive(Debug, Args)]
pub struct RouteOptions {
    /// The method.
    pub method: String,
    /// The service's URL: http://orders.weft.internal/path, orders.weft.internal/path or orders/path.
    pub url: String,
    /// Who calls: a service, node/NAME or gw/NAME; as whom this node calls usually if none.
    #[arg(long = "as", value_name = "CALLER")]
    pub identity: Option<String>,
    /// A label that the caller's certificate is supposed to carry; may be repeated. Without any, and without --as, those of this node.
    #[arg(long = "label", value_parser = granted_label, value_name = "NAME=VALUE")]
    pub labels: Vec<(String, String)>,
    /// A header of the request, `Name: value`; may be repeated.
    #[arg(short = 'H', long = "header")]
    pub headers: Vec<String>,
}
