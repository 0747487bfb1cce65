use serde::{Deserialize, Serialize};

/// How a model says of a query and a candidate whether the one answers the other. The system turn is the
/// recipe's [`instruction`](super::Recipe::instruction), and the user's turn has the pair:
/// `{instruct}{instruction}{query}{its parts}{candidate}{its parts}`. The score is the probability of the one
/// of two tokens to come next. The default is the prompt of Qwen3-VL-Reranker and lychee-rerank-mm
/// (arXiv 2510.14824), whose instructions differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Reranking {
    /// The instruction of queries that have none.
    pub instruction: String,
    /// What stands in front of the instruction.
    pub instruct: String,
    /// What stands in front of the query.
    pub query: String,
    /// What stands in front of the candidate.
    pub candidate: String,
    /// The token that says that the candidate answers the query, as the vocabulary spells it.
    pub yes: String,
    /// The token that says that it does not.
    pub no: String,
}

impl Default for Reranking {
    fn default() -> Self {
        Self {
            instruction: "Given a search query, retrieve relevant candidates that answer the query."
                .to_owned(),
            instruct: "<Instruct>: ".to_owned(),
            query: "<Query>:".to_owned(),
            candidate: "\n<Document>:".to_owned(),
            yes: "yes".to_owned(),
            no: "no".to_owned(),
        }
    }
}
