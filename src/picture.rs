//! A graph as a few lines of ASCII: each node once, forks below each other.

use seaworthy_engine::graph::{Plan, Role};

/// Draws a graph. A node that several edges lead into is drawn out at the first of them; elsewhere its name stands in
/// parentheses. A channel's end shows as `=> [channel]` or `[channel] =>`.
pub(crate) fn draw(plan: &Plan) -> String {
    let mut picture = Picture { plan, drawn: vec![false; plan.nodes.len()], text: String::new(), column: 0 };
    let fed: Vec<usize> = plan.nodes.iter().flat_map(|node| node.outputs.iter().copied()).collect();
    for start in (0..plan.nodes.len()).filter(|node| !fed.contains(node)) {
        picture.node(start);
        picture.text.push('\n');
        picture.column = 0;
    }
    picture.text
}

struct Picture<'a> {
    plan: &'a Plan,
    drawn: Vec<bool>,
    text: String,
    column: usize,
}

impl Picture<'_> {
    fn write(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.chars().count();
    }

    fn node(&mut self, at: usize) {
        let node = &self.plan.nodes[at];
        if std::mem::replace(&mut self.drawn[at], true) {
            return self.write(&format!("({})", node.id));
        }
        let name = match &node.role {
            Role::ChannelIn { channel } => format!("[{channel}] => {}", node.id),
            Role::ChannelOut { channel } => format!("{} => [{channel}]", node.id),
            _ => node.id.to_string(),
        };
        self.write(&name);
        let fork = self.column;
        for (n, output) in node.outputs.iter().enumerate() {
            if n > 0 {
                self.text.push('\n');
                self.text.extend(std::iter::repeat_n(' ', fork));
                self.column = fork;
            }
            self.write(if n == 0 { " -> " } else { " +> " });
            self.node(*output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seaworthy_engine::graph::{InboxSpec, PlannedNode};

    #[track_caller]
    fn check(nodes: &[(&str, Role, &[usize])], expected: &str) {
        let node = |(id, role, outputs): &(&str, Role, &[usize])| PlannedNode {
            id: (*id).into(),
            role: role.clone(),
            plugin: String::new(),
            config: serde_json::Value::Null,
            inbox: InboxSpec::default(),
            outputs: outputs.to_vec(),
        };
        let plan = Plan { process: "p".into(), graph_hash: 0, nodes: nodes.iter().map(node).collect() };
        assert_eq!(draw(&plan), expected);
    }

    #[test]
    fn forks_stand_below_each_other_and_joins_in_parentheses() {
        check(&[("a", Role::Source, &[1]), ("b", Role::Node, &[2]), ("c", Role::Sink, &[])], "a -> b -> c\n");
        check(
            &[
                ("feed", Role::Source, &[1, 2]),
                ("x", Role::Node, &[3]),
                ("y", Role::Node, &[3]),
                ("out", Role::Sink, &[]),
            ],
            "feed -> x -> out\n     +> y -> (out)\n",
        );
        let channel = || "up".to_owned();
        check(
            &[
                ("in", Role::ChannelIn { channel: channel() }, &[1]),
                ("on", Role::ChannelOut { channel: channel() }, &[]),
            ],
            "[up] => in -> on => [up]\n",
        );
        check(&[("a", Role::Source, &[]), ("b", Role::Sink, &[])], "a\nb\n");
    }
}
