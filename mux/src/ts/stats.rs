//! What happened to an input so far.

/// Counters since the importer was made, for a line in the log once a second and for metrics. None of it is billed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportStats {
    /// Transport packets seen, null packets included.
    pub packets: u64,
    /// Bytes that belonged to no packet.
    pub lost_bytes: u64,
    /// How often packet sync was lost and found again.
    pub resyncs: u64,
    /// Packets with an impossible header or adaptation field.
    pub malformed_packets: u64,
    /// Packets whose sender had marked them as broken.
    pub transport_errors: u64,
    /// Breaks of a continuity counter that no discontinuity_indicator announced.
    pub continuity_errors: u64,
    /// Legal second copies of a packet.
    pub duplicates: u64,
    /// Encrypted packets; their streams give nothing.
    pub scrambled_packets: u64,
    /// Packets of pids that the program map does not list.
    pub unknown_pid_packets: u64,
    /// Sections with a wrong checksum, or that are no tables.
    pub bad_sections: u64,
    /// PES packets with a bad header, with bytes missing, or beyond their limit.
    pub damaged_pes: u64,
    /// Units with a timestamp before the unit ahead of them, or far from every clock: dropped.
    pub misplaced_units: u64,
    /// Data units that came before any timestamp: dropped.
    pub timeless_units: u64,
    /// New time bases: restarts, splices and loops.
    pub clock_jumps: u64,
    /// Bytes of PES packets that are not complete yet.
    pub open_bytes: usize,
    /// Programs that the PAT lists.
    pub programs: usize,
    /// The program that is imported.
    pub program: Option<u16>,
    /// One word for the last thing that went wrong.
    pub last_problem: Option<&'static str>,
}
