//! A call that nobody made, as an operator describes it: the body of `POST /v1/why`, for `weft why FROM TO` and `weft route`.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use weft_world::world::World;
use weft_gossip::identity::{GrantedLabels, SpiffeId, Subject};
use weft_gossip::ids::SERVICE_DOMAIN;
use weft_gossip::{Code, Failure, ServiceName};
use weft_policy::fields::{Fields, Known};

use crate::explain::Question;

/// A call, as an operator describes it. The body of `POST /v1/why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hypothesis {
    /// Who calls: a service, `node/NAME` or `gw/NAME`; none is as whom this node calls usually.
    #[serde(default)]
    pub from: Option<String>,
    /// The labels that the caller's certificate is supposed to carry; none are those of this node where `from` is none, else no labels.
    #[serde(default)]
    pub labels: Option<GrantedLabels>,
    /// Whom.
    pub to: ServiceName,
    /// The method; without it, the call is a stream of which only its ends are known.
    #[serde(default)]
    pub method: Option<String>,
    /// The path, and its query after a `?`.
    #[serde(default)]
    pub path: Option<String>,
    /// Header fields, each `name: value`.
    #[serde(default)]
    pub headers: Vec<String>,
}

impl Hypothesis {
    /// The call as the data path takes it, in the terms of this world's mesh.
    pub fn question(&self, world: &World) -> Result<Question, Failure> {
        let method = self.method.as_deref().map(|method| {
            let method = method.to_ascii_uppercase();
            Method::from_bytes(method.as_bytes()).map_err(|_| invalid(format!("the method {method:?}")))
        });
        Ok(Question {
            caller: self.caller(world)?,
            labels: self.labels.clone().map(Arc::new),
            service: self.to.clone(),
            method: method.transpose()?,
            path: self.path.clone().unwrap_or_else(|| "/".to_owned()),
            headers: self.hosted()?,
        })
    }

    fn caller(&self, world: &World) -> Result<Option<SpiffeId>, Failure> {
        let mesh = &world.facts.mesh;
        let wrong = |error: weft_gossip::ids::NameError| invalid(error.to_string());
        let subject = match self.from.as_deref().map(|from| (from, from.split_once('/'))) {
            None => return Ok(None),
            Some((service, None)) => Subject::Service(service.parse().map_err(wrong)?),
            Some((_, Some(("node", name)))) => Subject::Node(name.parse().map_err(wrong)?),
            Some((_, Some(("gw", name)))) => Subject::Gateway(name.parse().map_err(wrong)?),
            Some((from, Some(_))) => return Err(invalid(format!("{from:?} is no service, node/NAME or gw/NAME"))),
        };
        Ok(Some(SpiffeId { mesh: mesh.clone(), subject }))
    }

    /// The header fields of the request, whose host is the service's usual one unless it is stated.
    fn hosted(&self) -> Result<Fields, Failure> {
        let mut headers = self.header_fields()?;
        if !headers.has(Known::Host) {
            headers.add(Known::Host, format!("{}.{SERVICE_DOMAIN}", self.to).as_bytes());
        }
        Ok(headers)
    }

    fn header_fields(&self) -> Result<Fields, Failure> {
        let mut headers = Fields::new();
        for line in &self.headers {
            let wrong = || invalid(format!("the header {line:?} is not `name: value`"));
            let (name, value) = line.split_once(':').ok_or_else(wrong)?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
            let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
            headers.push(name.as_str().as_bytes(), value.as_bytes());
        }
        Ok(headers)
    }
}

fn invalid(detail: String) -> Failure {
    Failure::new(Code::UsageInvalid, detail)
}
