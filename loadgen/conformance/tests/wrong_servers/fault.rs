//! What can be wrong with the server.

use clap::ValueEnum;

/// What is wrong with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    AnswersWithTheWholeBuffer,
    LosesTheTailAtHalfClose,
    ForgetsTheEndAtTheLastRead,
    HandlesHangUpBeforeInput,
    NeverRearmsAfterAFullBuffer,
    SwapsTwoClients,
    BlocksInWrite,
    KeepsAllInMemory,
    ServesTheGreedyFirst,
    ForgetsAPartialWrite,
    ClosesWithUnreadInput,
    EndsWithItsClient,
    SpinsWithoutDescriptors,
    DropsAtCapacity,
    ServesOneTooMany,
    LeaksADescriptor,
    IgnoresTerm,
    DropsInputAtTerm,
    WaitsForStuckClients,
    LeavesAProcess,
    CannotHaveItsPortAgain,
    ClosesTheActive,
    ListensEverywhere,
    AnswersTwice,
    LosesAByte,
    WaitsForANewline,
    EndsWithAReset,
    EndsAtControlD,
    StopsAfterAThousandReads,
    ChangesAByteOfALongStream,
    LingersForEver,
    TakesBothFramings,
    TakesTheLastLength,
    TakesSignedLengths,
    TakesABodyForARequest,
    NeedsNoHost,
    HasNoLimitOfHeads,
    ForgetsPipelinedRequests,
    SendsABodyToHead,
    ClosesWhatShouldStay,
    KeepsWhatShouldClose,
    RefusesChunkExtensions,
    RefusesTrailers,
    RefusesChunkedInCapitals,
    RefusesHexInCapitals,
    TakesChunksWithoutAnEnd,
    AnswersWithTwoLengths,
    AnswersWithBothFramings,
    AnswersWithoutASpace,
    AnswersAsHttp10,
    IgnoresFieldsInCapitals,
    LosesAByteOfASplitHead,
    ForgetsAClientAfterATurn,
    ForgetsTheBacklogAtTerm,
    WaitsForBusyWorkers,
    AnswersPipelinedFirst,
    CountsTheAnsweredAsReset,
    CountsTheStoppedAsReset,
    CountsAnEndAsReset,
    CountsNoResets,
    CountsNoTimeouts,
    CountsNoneAtTheEndOfGrace,
}

impl Fault {
    /// As `--fault` takes it.
    pub fn name(self) -> String {
        self.to_possible_value()
            .expect("no fault is hidden")
            .get_name()
            .to_owned()
    }

    /// The case that must notice it.
    pub fn case(self) -> &'static str {
        match self {
            Self::AnswersWithTheWholeBuffer => "bytes::one",
            Self::LosesTheTailAtHalfClose => "life::half_close_then_drain",
            Self::ForgetsTheEndAtTheLastRead => "life::end_at_any_read",
            Self::HandlesHangUpBeforeInput => "life::input_and_end_at_once",
            Self::NeverRearmsAfterAFullBuffer => "bytes::around_the_buffer",
            Self::SwapsTwoClients => "bytes::clients_in_turn",
            Self::BlocksInWrite => "isolation::never_reader",
            Self::KeepsAllInMemory => "isolation::bounded_memory",
            Self::ServesTheGreedyFirst | Self::ChangesAByteOfALongStream => {
                "isolation::greedy_senders"
            }
            Self::ForgetsAPartialWrite => "isolation::slow_reader",
            Self::ClosesWithUnreadInput => "once::long_request",
            Self::EndsWithItsClient => "life::reset_idle",
            Self::SpinsWithoutDescriptors => "limits::no_descriptor_left",
            Self::DropsAtCapacity => "limits::capacity",
            Self::ServesOneTooMany => "limits::capacity_of_one",
            Self::LeaksADescriptor => "leaks::after_5_000_clients",
            Self::IgnoresTerm => "stop::idle",
            Self::DropsInputAtTerm => "stop::in_mid_stream",
            Self::WaitsForStuckClients => "stop::with_stuck_clients",
            Self::LeavesAProcess => "stop::by_sigint",
            Self::CannotHaveItsPortAgain => "stop::port_free_at_once",
            Self::ClosesTheActive => "life::idle_timeout_spares_the_active",
            Self::ListensEverywhere => "command_line::no_other_address",
            Self::AnswersTwice | Self::StopsAfterAThousandReads => "bytes::ping_pong",
            Self::LosesAByte => "bytes::size_9_999",
            Self::WaitsForANewline => "bytes::one_byte_slices",
            Self::EndsWithAReset => "bytes::none",
            Self::EndsAtControlD => "bytes::every_value",
            Self::LingersForEver => "once::closes_for_good",
            Self::TakesBothFramings => "http::both_framings",
            Self::TakesTheLastLength => "http::differing_lengths",
            Self::TakesSignedLengths => "http::odd_lengths",
            Self::TakesABodyForARequest => "http::get_with_body",
            Self::NeedsNoHost => "http::missing_host",
            Self::HasNoLimitOfHeads => "http::endless_head",
            Self::ForgetsPipelinedRequests => "http::pipelined",
            Self::SendsABodyToHead => "http::head",
            Self::ClosesWhatShouldStay => "http::keep_alive",
            Self::KeepsWhatShouldClose => "http::close",
            Self::RefusesChunkExtensions
            | Self::RefusesTrailers
            | Self::RefusesChunkedInCapitals
            | Self::RefusesHexInCapitals => "http::chunked_body",
            Self::TakesChunksWithoutAnEnd => "http::bad_chunks",
            Self::AnswersWithTwoLengths
            | Self::AnswersWithBothFramings
            | Self::AnswersWithoutASpace
            | Self::AnswersAsHttp10 => "http::get",
            Self::IgnoresFieldsInCapitals => "http::field_names_in_any_case",
            Self::LosesAByteOfASplitHead => "http::split_everywhere",
            Self::ForgetsAClientAfterATurn => "stop::data_ends_with_a_turn",
            Self::ForgetsTheBacklogAtTerm => "stop::backlog",
            Self::WaitsForBusyWorkers => "stop::with_busy_workers",
            Self::AnswersPipelinedFirst => "isolation::pipelined_work",
            Self::CountsTheAnsweredAsReset => "stats::end_of_grace_answered",
            Self::CountsTheStoppedAsReset => "stats::stopped_when_idle",
            Self::CountsAnEndAsReset => "stats::end_of_input",
            Self::CountsNoResets => "stats::reset",
            Self::CountsNoTimeouts => "stats::idle_timeout",
            Self::CountsNoneAtTheEndOfGrace => "stats::end_of_grace_unsent",
        }
    }
}
