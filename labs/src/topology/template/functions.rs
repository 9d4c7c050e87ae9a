//! Functions of templates beyond the language's own: containerlab's arithmetic, and those of gomplate's on texts, lists and
//! networks that topology files use. A name is also known with its name space: `toUpper` is `strings.ToUpper`.

use std::net::IpAddr;
use std::sync::Arc;

use gotmpl::{Template, TemplateError, Value};
use ipnet::IpNet;

use super::bounds;
use super::vars::json;

type Result<T> = std::result::Result<T, TemplateError>;
type Function = fn(&[Value]) -> Result<Value>;

/// Longest list that `seq` and `net.CIDRSubnets` make, and longest text that `strings.Repeat` does.
const MAX_LIST: usize = 100_000;

/// Every function, under each of its names.
const FUNCTIONS: &[(&[&str], Function)] = &[
    (&["add", "math_Add"], |args| fold(args, 0, i64::checked_add)),
    (&["mul", "math_Mul"], |args| fold(args, 1, i64::checked_mul)),
    (&["sub", "subtract", "math_Sub"], |args| pair(args, i64::checked_sub)),
    (&["idiv"], |args| pair(args, i64::checked_div)),
    (&["rem", "mod", "math_Rem"], |args| pair(args, i64::checked_rem)),
    (&["pow", "math_Pow"], |args| pair(args, |a, b| a.checked_pow(u32::try_from(b).ok()?))),
    (&["div", "math_Div"], div),
    (&["seq", "math_Seq"], seq),
    (&["max", "math_Max"], |args| extreme(args, i64::max)),
    (&["min", "math_Min"], |args| extreme(args, i64::min)),
    (&["ToJSON", "toJSON"], |args| Ok(text(json(at(args, 0)?).to_string()))),
    (&["ToJSONPretty", "toJSONPretty"], pretty),
    (&["slice"], slice),
    (&["has", "conv_Has"], has),
    (&["default", "conv_Default"], |args| {
        Ok(if at(args, 1)?.is_truthy() { at(args, 1)?.clone() } else { at(args, 0)?.clone() })
    }),
    (&["ternary"], |args| Ok(at(args, if at(args, 2)?.is_truthy() { 0 } else { 1 })?.clone())),
    (&["join", "conv_Join"], join),
    (&["split", "strings_Split"], |args| {
        Ok(list(shown_at(args, 1)?.split(shown_at(args, 0)?.as_str()).map(str::to_owned)))
    }),
    (&["toUpper", "strings_ToUpper"], |args| Ok(text(shown_at(args, 0)?.to_uppercase()))),
    (&["toLower", "strings_ToLower"], |args| Ok(text(shown_at(args, 0)?.to_lowercase()))),
    (&["title", "strings_Title"], |args| Ok(text(title(&shown_at(args, 0)?)))),
    (&["trimSpace", "strings_TrimSpace"], |args| Ok(text(shown_at(args, 0)?.trim().to_owned()))),
    (&["trim", "strings_Trim"], |args| {
        let cut: Vec<char> = shown_at(args, 0)?.chars().collect();
        Ok(text(shown_at(args, 1)?.trim_matches(&cut[..]).to_owned()))
    }),
    (&["trimPrefix", "strings_TrimPrefix"], |args| {
        let (cut, whole) = (shown_at(args, 0)?, shown_at(args, 1)?);
        Ok(text(whole.strip_prefix(cut.as_str()).unwrap_or(&whole).to_owned()))
    }),
    (&["trimSuffix", "strings_TrimSuffix"], |args| {
        let (cut, whole) = (shown_at(args, 0)?, shown_at(args, 1)?);
        Ok(text(whole.strip_suffix(cut.as_str()).unwrap_or(&whole).to_owned()))
    }),
    (&["contains", "strings_Contains"], |args| {
        Ok(Value::Bool(shown_at(args, 1)?.contains(shown_at(args, 0)?.as_str())))
    }),
    (&["hasPrefix", "strings_HasPrefix"], |args| {
        Ok(Value::Bool(shown_at(args, 1)?.starts_with(shown_at(args, 0)?.as_str())))
    }),
    (&["hasSuffix", "strings_HasSuffix"], |args| {
        Ok(Value::Bool(shown_at(args, 1)?.ends_with(shown_at(args, 0)?.as_str())))
    }),
    (&["replaceAll", "strings_ReplaceAll"], replace_all),
    (&["repeat", "strings_Repeat"], repeat),
    (&["quote", "strings_Quote"], |args| Ok(text(format!("{:?}", shown_at(args, 0)?)))),
    (&["squote", "strings_Squote"], |args| Ok(text(format!("'{}'", shown_at(args, 0)?.replace('\'', "''"))))),
    (&["indent", "strings_Indent"], indent),
    (&["toString", "conv_ToString"], |args| Ok(text(shown_at(args, 0)?))),
    (&["toInt", "conv_ToInt", "conv_Atoi"], |args| int(at(args, 0)?).map(Value::Int)),
    (&["net_CIDRHost", "net_CidrHost"], host),
    (&["net_CIDRNetmask", "net_CidrNetmask"], |args| Ok(text(network(args, 0)?.netmask().to_string()))),
    (&["net_CIDRSubnets", "net_CidrSubnets"], subnets),
];

/// Gives a template all of them.
pub(super) fn register(mut template: Template) -> Template {
    let made = Arc::new(bounds::Made::default());
    for (names, function) in FUNCTIONS {
        for name in *names {
            let made = Arc::clone(&made);
            template = template.func(name, move |args| made.note(name, function(args)?));
        }
    }
    for name in bounds::LANGUAGE {
        let made = Arc::clone(&made);
        template = template.func(name, move |args| made.note(name, bounds::language(name, args)?));
    }
    template
}

/// The names, for a person.
pub(super) fn names() -> String {
    let own = "and, or, not, eq, ne, lt, le, gt, ge, len, index, print, printf, println";
    let names: Vec<&str> = FUNCTIONS.iter().filter_map(|(names, _)| names.first().copied()).collect();
    format!("{own}, {}", names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", "))
}

/// A name as it is written in a template.
pub(super) fn shown(name: &str) -> String {
    match name.split_once('_') {
        Some((space @ ("strings" | "conv" | "net" | "math"), name)) => format!("{space}.{name}"),
        Some(_) | None => name.to_owned(),
    }
}

pub(super) fn wrong(what: impl Into<String>) -> TemplateError {
    TemplateError::Exec(what.into())
}

fn at(args: &[Value], index: usize) -> Result<&Value> {
    args.get(index)
        .ok_or_else(|| wrong(format!("a function has {} values and needs {} at least", args.len(), index + 1)))
}

fn text(text: String) -> Value {
    Value::String(text.into())
}

fn list(texts: impl Iterator<Item = String>) -> Value {
    Value::List(texts.map(text).collect())
}

fn shown_at(args: &[Value], index: usize) -> Result<String> {
    at(args, index).map(ToString::to_string)
}

fn int(value: &Value) -> Result<i64> {
    match value {
        Value::String(text) => text.parse().map_err(|_| wrong(format!("`{text}` is no whole number"))),
        Value::Int(_) | Value::Uint(_) | Value::Float(_) => {
            value.as_int().ok_or_else(|| wrong(format!("`{value}` is no whole number")))
        }
        Value::Nil | Value::Bool(_) | Value::List(_) | Value::Map(_) | Value::Function(_) => {
            Err(wrong(format!("`{value}` is no whole number")))
        }
    }
}

fn checked(result: Option<i64>) -> Result<Value> {
    result.map(Value::Int).ok_or_else(|| wrong("the result is no 64-bit number, or something is divided by 0"))
}

fn fold(args: &[Value], first: i64, step: fn(i64, i64) -> Option<i64>) -> Result<Value> {
    let mut sum = Some(first);
    for arg in args {
        let next = int(arg)?;
        sum = sum.and_then(|sum| step(sum, next));
    }
    checked(sum)
}

fn pair(args: &[Value], step: fn(i64, i64) -> Option<i64>) -> Result<Value> {
    checked(step(int(at(args, 0)?)?, int(at(args, 1)?)?))
}

fn extreme(args: &[Value], choose: fn(i64, i64) -> i64) -> Result<Value> {
    let mut best = int(at(args, 0)?)?;
    for arg in args {
        best = choose(best, int(arg)?);
    }
    Ok(Value::Int(best))
}

/// As in gomplate, 1 by 2 is 0.5; what comes out even is a whole number.
fn div(args: &[Value]) -> Result<Value> {
    let (a, b) = (int(at(args, 0)?)?, int(at(args, 1)?)?);
    match (a.checked_rem(b), a.checked_div(b)) {
        (Some(0), whole @ Some(_)) => checked(whole),
        (Some(_), _) => {
            let float = |number: i64| number.to_string().parse::<f64>().unwrap_or(f64::NAN);
            Ok(Value::Float(float(a) / float(b)))
        }
        (None, _) => checked(None),
    }
}

/// `seq 3` is 1 to 3, `seq 0 3` is 0 to 3, and a third number is the step. Both ends are in it.
fn seq(args: &[Value]) -> Result<Value> {
    let numbers = args.iter().map(int).collect::<Result<Vec<i64>>>()?;
    let (from, to, step) = match numbers[..] {
        [to] => (1, to, None),
        [from, to] => (from, to, None),
        [from, to, step] => (from, to, Some(step)),
        _ => return Err(wrong("seq has one, two or three numbers: the end; begin and end; begin, end and step")),
    };
    let step = step.unwrap_or(if from <= to { 1 } else { -1 });
    if step == 0 {
        return Err(wrong("seq with step 0 has no end"));
    }
    let mut list = Vec::new();
    let mut next = Some(from);
    while let Some(number) = next.filter(|number| if step > 0 { *number <= to } else { *number >= to }) {
        if list.len() >= MAX_LIST {
            return Err(wrong(format!("seq makes more than {MAX_LIST} numbers")));
        }
        list.push(Value::Int(number));
        next = number.checked_add(step);
    }
    Ok(Value::List(list.into()))
}

fn replace_all(args: &[Value]) -> Result<Value> {
    let (from, to, whole) = (shown_at(args, 0)?, shown_at(args, 1)?, shown_at(args, 2)?);
    let found = whole.matches(from.as_str()).count();
    bounds::fits("replaceAll", found.saturating_mul(to.len()).saturating_add(whole.len()))?;
    Ok(text(whole.replace(from.as_str(), &to)))
}

fn pretty(args: &[Value]) -> Result<Value> {
    // containerlab's has the indentation in front of the value
    let (blanks, value) =
        if args.len() > 1 { (shown_at(args, 0)?, at(args, 1)?) } else { ("  ".to_owned(), at(args, 0)?) };
    if blanks.len() > 100 {
        return Err(wrong("ToJSONPretty: an indentation has 100 bytes at most"));
    }
    let flat = serde_json::to_string_pretty(&json(value)).map_err(|error| wrong(error.to_string()))?;
    let lines = flat.lines().map(|line| {
        let inner = line.trim_start();
        format!("{}{inner}", blanks.repeat((line.len() - inner.len()) / 2))
    });
    Ok(text(lines.collect::<Vec<_>>().join("\n")))
}

/// Go's own of a list or text and numbers; anything else makes a list of its values, as gomplate's.
fn slice(args: &[Value]) -> Result<Value> {
    let numbers: Option<Vec<i64>> = args.iter().skip(1).map(Value::as_int).collect();
    match (args.first(), numbers.as_deref()) {
        (Some(whole @ (Value::List(_) | Value::String(_))), Some([from])) => whole.slice(Some(*from), None),
        (Some(whole @ (Value::List(_) | Value::String(_))), Some([from, to])) => whole.slice(Some(*from), Some(*to)),
        _ => Ok(Value::List(args.to_vec().into())),
    }
}

fn has(args: &[Value]) -> Result<Value> {
    let (whole, wanted) = (at(args, 0)?, shown_at(args, 1)?);
    if let Value::Map(map) = whole {
        return Ok(Value::Bool(map.contains_key(wanted.as_str())));
    }
    let Value::List(list) = whole else { return Err(wrong(format!("has: `{whole}` is no list and no mapping"))) };
    Ok(Value::Bool(list.iter().any(|value| value.to_string() == wanted)))
}

fn join(args: &[Value]) -> Result<Value> {
    let (whole, between) = (at(args, 0)?, shown_at(args, 1)?);
    let Value::List(list) = whole else { return Err(wrong(format!("join: `{whole}` is no list"))) };
    bounds::fits("join", list.len().saturating_mul(between.len()))?;
    Ok(text(list.iter().map(ToString::to_string).collect::<Vec<_>>().join(&between)))
}

fn title(whole: &str) -> String {
    let mut begins = true;
    let upper = |c: char| {
        let first = std::mem::replace(&mut begins, c.is_whitespace());
        if first { c.to_uppercase().to_string() } else { c.to_string() }
    };
    whole.chars().map(upper).collect()
}

fn repeat(args: &[Value]) -> Result<Value> {
    let (count, whole) = (int(at(args, 0)?)?, shown_at(args, 1)?);
    let count = usize::try_from(count).map_err(|_| wrong(format!("repeat {count} times")))?;
    if count.saturating_mul(whole.len()) > MAX_LIST {
        return Err(wrong(format!("repeat makes more than {MAX_LIST} bytes")));
    }
    Ok(text(whole.repeat(count)))
}

/// `indent TEXT`, `indent 4 TEXT` or `indent 4 "-" TEXT`.
fn indent(args: &[Value]) -> Result<Value> {
    let (width, fill, whole) = match args {
        [whole] => (1, " ".to_owned(), whole),
        [width, whole] => (int(width)?, " ".to_owned(), whole),
        [width, fill, whole] => (int(width)?, fill.to_string(), whole),
        _ => return Err(wrong("indent has a width and a text")),
    };
    let width =
        usize::try_from(width).ok().filter(|width| *width <= 1_000).ok_or_else(|| wrong("indent by 0 to 1000"))?;
    let whole = whole.to_string();
    bounds::fits("indent", whole.lines().count().saturating_mul(width.saturating_mul(fill.len())))?;
    let lines = whole.lines().map(|line| format!("{}{line}", fill.repeat(width))).collect::<Vec<_>>();
    Ok(text(lines.join("\n")))
}

fn network(args: &[Value], index: usize) -> Result<IpNet> {
    let written = shown_at(args, index)?;
    written.parse().map_err(|_| wrong(format!("`{written}` is no network, as 10.0.0.0/24")))
}

/// `net.CIDRHost 3 "10.0.0.0/24"` is 10.0.0.3; a negative number counts from the end.
fn host(args: &[Value]) -> Result<Value> {
    let (number, net) = (i128::from(int(at(args, 0)?)?), network(args, 1)?);
    let bits = net.max_prefix_len() - net.prefix_len();
    let size = if bits >= 127 { i128::MAX } else { 1_i128 << bits };
    let offset = if number < 0 { size + number } else { number };
    if offset < 0 || offset >= size {
        return Err(wrong(format!("{net} has no address {number}")));
    }
    let offset = offset.unsigned_abs();
    let address = match net.network() {
        IpAddr::V4(base) => IpAddr::V4((u32::from(base) + u32::try_from(offset).unwrap_or(0)).into()),
        IpAddr::V6(base) => IpAddr::V6((u128::from(base) + offset).into()),
    };
    Ok(text(address.to_string()))
}

/// `net.CIDRSubnets 2 "10.0.0.0/24"` are its four /26.
fn subnets(args: &[Value]) -> Result<Value> {
    let (more, net) = (int(at(args, 0)?)?, network(args, 1)?);
    let length = i64::from(net.prefix_len()) + more;
    let length = u8::try_from(length).ok().filter(|_| (1..=16).contains(&more));
    let subnets = length.and_then(|length| net.subnets(length).ok());
    let subnets =
        subnets.ok_or_else(|| wrong(format!("{net} cannot be cut with {more} more bits: 1 to 16 that fit")))?;
    Ok(Value::List(subnets.map(|net| text(net.to_string())).collect::<Vec<_>>().into()))
}
