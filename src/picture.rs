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
