"""What one can ask of a net, one file per question. It computes and draws nothing; it takes modules, callables and rows.

`capture`: what do the layers answer? `projection`: what do units look for? `strongest`: which rows excite them?
`rebuilding`: what does a layer keep of the input? `mistakes`: where is it wrong, and how sure is
that? `activity`: how are the states spread? `flat`: how do codes lie? `ranking`: which method is best, if any? `similarity`:
how alike are layers? `matching`: and units? `readout`: what can a linear map read off a layer? `information`: how many nats
does it tell of the input and the label? `calibration`: can those figures be trusted?
`selectivity`: which class does a unit tell? `favourite`: which input would it like best? `evidence`: which part of a row
excites it? `wiring`: what does it get, give and resemble? `ablation`: what changes without it?
`vitals`: how healthy are the layers of any net? `ladder`: all of this, layer by layer, in one call.
`recognition`: are people known again by their embeddings?
`tradeoff`: how many strangers are accepted, and how many people not known again?
"""

from layerwise.lens.ablation import Ablated, ablate, tail, work
from layerwise.lens.activity import Spread, spread
from layerwise.lens.calibration import Calibrated, Step, calibrate, growth, processing
from layerwise.lens.capture import Seen, capture, linear_weights, stream, watch
from layerwise.lens.evidence import Evidence, evidence
from layerwise.lens.favourite import Favourite, Manner, favourites, favourites_of
from layerwise.lens.flat import Flat, flatten, middles
from layerwise.lens.information import Information, binned_information, noisy_information
from layerwise.lens.ladder import Band, Ladder, Rung, in_groups, ladder
from layerwise.lens.matching import Matched, correlations, match_units
from layerwise.lens.mistakes import confusion, interval, most_confused
from layerwise.lens.projection import project, strongest_units
from layerwise.lens.ranking import Ranked, rank
from layerwise.lens.readout import Reading, read_labels, rebuild_linearly
from layerwise.lens.rebuilding import Rebuilt, rebuild
from layerwise.lens.recognition import Recognition, recognition
from layerwise.lens.selectivity import Selectivity, selectivity
from layerwise.lens.similarity import Alignment, Alignments, cka
from layerwise.lens.strongest import Examples, examples, strongest_rows
from layerwise.lens.tradeoff import Tradeoff, tradeoff
from layerwise.lens.vitals import GradientHistory, Vitals, effective_rank, gradients, reached, vitals
from layerwise.lens.wiring import Connections, Wired, connections, inputs_of, nearest_units, outputs_of

__all__ = [
    "Ablated",
    "Alignment",
    "Alignments",
    "Band",
    "Calibrated",
    "Connections",
    "Evidence",
    "Examples",
    "Favourite",
    "Flat",
    "GradientHistory",
    "Information",
    "Ladder",
    "Manner",
    "Matched",
    "Ranked",
    "Reading",
    "Rebuilt",
    "Recognition",
    "Rung",
    "Seen",
    "Selectivity",
    "Spread",
    "Step",
    "Tradeoff",
    "Vitals",
    "Wired",
    "ablate",
    "binned_information",
    "calibrate",
    "capture",
    "cka",
    "confusion",
    "connections",
    "correlations",
    "effective_rank",
    "evidence",
    "examples",
    "favourites",
    "favourites_of",
    "flatten",
    "gradients",
    "growth",
    "in_groups",
    "inputs_of",
    "interval",
    "ladder",
    "linear_weights",
    "match_units",
    "middles",
    "most_confused",
    "nearest_units",
    "noisy_information",
    "outputs_of",
    "processing",
    "project",
    "rank",
    "reached",
    "read_labels",
    "rebuild",
    "rebuild_linearly",
    "recognition",
    "selectivity",
    "spread",
    "stream",
    "strongest_rows",
    "strongest_units",
    "tail",
    "tradeoff",
    "vitals",
    "watch",
    "work",
]
