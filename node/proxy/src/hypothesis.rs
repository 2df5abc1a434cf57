//! A call that nobody made, as an operator describes it (`weft why FROM TO`, `weft route`), as a question to the data path.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use weft_identity::ids::SERVICE_DOMAIN;
use weft_identity::{Code, Failure, SpiffeId, Subject};
use weft_policy::fields::{Fields, Known};
use weft_world::World;
use weft_world::admin::Hypothesis;

use crate::explain::Question;

impl Question {
    /// The call as the data path takes it, in the terms of this world's mesh.
    pub fn supposed(call: &Hypothesis, world: &World) -> Result<Question, Failure> {
        let method = call.method.as_deref().map(|method| {
            let method = method.to_ascii_uppercase();
            Method::from_bytes(method.as_bytes()).map_err(|_| invalid(format!("the method {method:?}")))
        });
        Ok(Question {
            caller: caller(call, world)?,
            labels: call.labels.clone().map(Arc::new),
            service: call.to.clone(),
            method: method.transpose()?,
            path: call.path.clone().unwrap_or_else(|| "/".to_owned()),
            headers: hosted(call)?,
        })
    }
}

fn caller(call: &Hypothesis, world: &World) -> Result<Option<SpiffeId>, Failure> {
    let mesh = &world.facts.mesh;
    let wrong = |error: weft_identity::ids::NameError| invalid(error.to_string());
    let subject = match call.from.as_deref().map(|from| (from, from.split_once('/'))) {
        None => return Ok(None),
        Some((service, None)) => Subject::Service(service.parse().map_err(wrong)?),
        Some((_, Some(("node", name)))) => Subject::Node(name.parse().map_err(wrong)?),
        Some((_, Some(("gw", name)))) => Subject::Gateway(name.parse().map_err(wrong)?),
        Some((from, Some(_))) => return Err(invalid(format!("{from:?} is no service, node/NAME or gw/NAME"))),
    };
    Ok(Some(SpiffeId { mesh: mesh.clone(), subject }))
}

/// The header fields of the request, whose host is the service's usual one unless it is stated.
fn hosted(call: &Hypothesis) -> Result<Fields, Failure> {
    let mut headers = fields(call)?;
    if !headers.has(Known::Host) {
        headers.add(Known::Host, format!("{}.{SERVICE_DOMAIN}", call.to).as_bytes());
    }
    Ok(headers)
}

fn fields(call: &Hypothesis) -> Result<Fields, Failure> {
    let mut headers = Fields::new();
    for line in &call.headers {
        let wrong = || invalid(format!("the header {line:?} is not `name: value`"));
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        headers.push(name.as_str().as_bytes(), value.as_bytes());
    }
    Ok(headers)
}

fn invalid(detail: String) -> Failure {
    Failure::new(Code::UsageInvalid, detail)
}
