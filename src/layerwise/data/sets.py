"""What the known sets are, where their files are at home, and which function reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from layerwise.data.arrays import Parts, Piece, parts, read_idx_folder
from layerwise.data.download import KnownFile, cache_folder
from layerwise.data.labels import pick
from layerwise.data.photographs import read_cifar10, read_orl_faces
from layerwise.data.row import Row


@dataclass(frozen=True)
class Known:
    """A known set; one without `files` is embedded.

    Arguments:
        name: By which it is asked for, and of its folder.
        about: One line.
        kind: Of a row: "image", "table", "sound" or "text".
        shape: Of a row as it is stored; of sound and text as it is read by default.
        rows: Of the training and of the test part.
        licence: Under which it may be used.
        classes: Their names; none for a set without labels.
        read: Makes the parts of the folder with the files.
        files: As they are published.
        homes: What comes before their names in a URL, each ending in "/"; none where they have to be fetched by hand.
        others: Files that the reader takes as well, each group of them on its own; it may be less than the whole.
        page: About the set.
        by_hand: Where there is no home, how to fetch it.
    """

    name: str
    about: str
    kind: str
    shape: tuple[int, ...]
    rows: tuple[int, int]
    licence: str
    classes: tuple[str, ...]
    read: Callable[..., Parts] = field(repr=False)
    files: tuple[KnownFile, ...] = ()
    homes: tuple[str, ...] = ()
    others: tuple[tuple[KnownFile, ...], ...] = ()
    page: str = ""
    by_hand: str = ""

    @property
    def folder(self) -> Path:
        """Where its files are, or would be."""
        return cache_folder() / self.name if self.files else Path()

    @property
    def here(self) -> tuple[KnownFile, ...]:
        """The files that are in the cache, if they are enough; the published ones where they are."""
        groups = (
            group for group in (self.files, *self.others) if all((self.folder / file.name).is_file() for file in group)
        )
        return next(groups, ())

    @property
    def missing(self) -> list[str]:
        """Names of the published files that are not in the cache; none where others are enough."""
        folder = self.folder
        return [] if self.here else [file.name for file in self.files if not (folder / file.name).is_file()]


def _read_digits(_: Path) -> Parts:
    """scikit-learn's digits: 1297 rows to train on and 500 to test on, by class and always the same."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = data.images.astype(np.uint8), data.target
    test = np.zeros(len(x), dtype=bool)
    test[pick([np.flatnonzero(y == label) for label in range(10)], 500, seed=0)] = True
    note = "fixed split of scikit-learn's digits into 1297 and 500, stratified by class"
    both = parts([Piece(x[~test], y[~test]), Piece(x[test], y[test])], "digits", note=note)
    return tuple(replace(part, row=replace(part.row, high=16.0)) for part in both)


# A reader's options are read off its signature, so these name them; what sound and text need is imported when they read.


def _read_fsdd(
    folder: Path,
    rate: int | None = None,
    seconds: float | None = None,
    bands: int | None = None,
    fit: Literal["pad", "stretch"] | None = None,
    like: Row | None = None,
) -> Parts:
    from layerwise.data.sound import read_fsdd

    return read_fsdd(folder, rate=rate, seconds=seconds, bands=bands, fit=fit, like=like)


def _read_ag_news(folder: Path, form: str | None = None, length: int | None = None, like: Row | None = None) -> Parts:
    from layerwise.data.text import read_ag_news

    return read_ag_news(folder, form=form, length=length, like=like)


def _read_tinyshakespeare(
    folder: Path, form: str | None = None, length: int | None = None, like: Row | None = None
) -> Parts:
    from layerwise.data.text import read_tinyshakespeare

    return read_tinyshakespeare(folder, form=form, length=length, like=like)


def _read_letter(folder: Path) -> Parts:
    from layerwise.data.tables import read_letter

    return read_letter(folder)


def _read_adult(folder: Path) -> Parts:
    from layerwise.data.tables import read_adult

    return read_adult(folder)


def _read_covtype(folder: Path) -> Parts:
    from layerwise.data.tables import read_covtype

    return read_covtype(folder)


DIGITS = Known(
    "digits",
    "Handwritten digits, 8 x 8 pixels of 17 greys, embedded in scikit-learn: the default.",
    "image",
    (8, 8),
    (1297, 500),
    "CC BY 4.0 (UCI Optical Recognition of Handwritten Digits)",
    tuple("0123456789"),
    _read_digits,
    page="https://archive.ics.uci.edu/dataset/80/",
)
MNIST = Known(
    "mnist",
    "Handwritten digits, 28 x 28 pixels (LeCun, Cortes, Burges).",
    "image",
    (28, 28),
    (60000, 10000),
    "none stated by the authors; often given as CC BY-SA 3.0",
    tuple("0123456789"),
    read_idx_folder,
    (
        KnownFile(
            "train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9912422
        ),
        KnownFile(
            "train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28881
        ),
        KnownFile(
            "t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1648877
        ),
        KnownFile(
            "t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4542
        ),
    ),
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    page="http://yann.lecun.com/exdb/mnist/",
)
FASHION = Known(
    "fashion_mnist",
    "Clothing, 28 x 28 pixels (Zalando Research).",
    "image",
    (28, 28),
    (60000, 10000),
    "MIT",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    read_idx_folder,
    (
        KnownFile(
            "train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26421880
        ),
        KnownFile(
            "train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29515
        ),
        KnownFile(
            "t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4422102
        ),
        KnownFile(
            "t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5148
        ),
    ),
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    page="https://github.com/zalandoresearch/fashion-mnist",
)
CIFAR10 = Known(
    "cifar10",
    "Photographs of ten kinds of things, 32 x 32 pixels in colour (Krizhevsky).",
    "image",
    (3, 32, 32),
    (50000, 10000),
    "none stated; for research, citing Krizhevsky (2009)",
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    read_cifar10,
    (
        KnownFile(
            "cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", 170052171
        ),
    ),
    ("https://www.cs.toronto.edu/~kriz/",),
    (
        tuple(
            KnownFile(f"{name}.bin", "", 30730000) for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch")
        ),
        (
            KnownFile(
                "data_batch_1.bin.xz", "05dc5fe09eb23af23d8cdc4c0afc27125702a4bd1c9101b17f7be474b58e29c7", 21456816
            ),
            KnownFile(
                "data_batch_2.bin.xz", "9408d65b03160954798b117ebee9819a2368881713199df59ffb6843569753a2", 21505780
            ),
            KnownFile(
                "test_first1000.bin.xz", "fea2756db1e878b39d9fbfb6ae9c79f265367b09be1713dca4f43a0e4f570566", 2147864
            ),
        ),
    ),
    page="https://www.cs.toronto.edu/~kriz/cifar.html",
)
ORL_FACES = Known(
    "orl_faces",
    'Ten photographs of each of 40 people, 112 x 92 pixels (Olivetti Research Laboratory); "olivetti" elsewhere.',
    "image",
    (112, 92),
    (200, 200),
    "free to use, giving credit to AT&T Laboratories Cambridge",
    tuple(f"s{person}" for person in range(1, 41)),
    read_orl_faces,
    # Idiap publishes the MD5 of its copy (in bob.bio.base); for the file of the original server none is known.
    (KnownFile("att_faces.zip", "md5:6efb25cb0d40755e9492b9c012e3348d", 0),),
    ("https://www.idiap.ch/software/bob/data/bob/",),
    ((KnownFile("orl_faces.zip", "", 0),),),
    page="https://cam-orl.co.uk/facedatabase.html",
)
FSDD = Known(
    "fsdd",
    "Spoken digits, 3000 clips of 6 speakers at 8 kHz (Free Spoken Digit Dataset, Jackson).",
    "sound",
    (40, 67),
    (2700, 300),
    "CC BY-SA 4.0",
    tuple("0123456789"),
    _read_fsdd,
    (KnownFile("fsdd.zip", "", 0),),
    page="https://github.com/Jakobovski/free-spoken-digit-dataset",
    by_hand="Fetch https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip, unpack it, and "
    "pack its folder recordings/ (3000 .wav files) into a zip called fsdd.zip.",
)
AG_NEWS = Known(
    "ag_news",
    "News of four topics, title and description: the 7600 rows of the official test part, split anew.",
    "text",
    (),
    (6000, 1600),
    "for research and other non-commercial use",
    ("World", "Sports", "Business", "Sci/Tech"),
    _read_ag_news,
    (
        KnownFile(
            "test.csv.gz", "521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699", 1857427, packed=True
        ),
        KnownFile("classes.txt", "612dbfa932f07a6ed837295a7d5746ce7412e7bb4bc32ba919fdb3cda3a1b9b5", 31),
    ),
    (
        "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/555590db4219b1243abb1918effd6a7425a2d75f/"
        "data/ag_news_csv/",
    ),
    page="http://groups.di.unipi.it/~gulli/AG_corpus_of_news_articles.html",
)
TINYSHAKESPEARE = Known(
    "tinyshakespeare",
    "Plays of Shakespeare, 1115394 characters of 65 kinds, in pieces of 256 (Karpathy's choice).",
    "text",
    (),
    (3922, 436),
    "public domain",
    (),
    _read_tinyshakespeare,
    (
        KnownFile(
            "input.txt.gz", "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed", 1115394, packed=True
        ),
    ),
    (
        "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
        "data/tinyshakespeare/",
    ),
    page="https://github.com/karpathy/char-rnn",
)
LETTER = Known(
    "letter",
    "The letters A to Z in 20 fonts, 16 measurements each (Slate, UCI).",
    "table",
    (16,),
    (16000, 4000),
    "CC BY 4.0",
    tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    _read_letter,
    (
        KnownFile(
            "letter-recognition.data.gz",
            "2b89f3602cf768d3c8355267d2f13f2417809e101fc2b5ceee10db19a60de6e2",
            712565,
            packed=True,
        ),
    ),
    ("https://archive.ics.uci.edu/ml/machine-learning-databases/letter-recognition/",),
    page="https://archive.ics.uci.edu/dataset/59/",
)
ADULT = Known(
    "adult",
    "Whether a person of the US census of 1994 earned over $50,000: 14 columns, mixed (Kohavi and Becker, UCI).",
    "table",
    (14,),
    (32561, 16281),
    "CC BY 4.0",
    ("<=50K", ">50K"),
    _read_adult,
    (
        KnownFile(
            "adult.data.gz", "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d", 3974305, packed=True
        ),
        KnownFile(
            "adult.test.gz", "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05", 2003153, packed=True
        ),
    ),
    ("https://archive.ics.uci.edu/ml/machine-learning-databases/adult/",),
    page="https://archive.ics.uci.edu/dataset/2/",
)
COVTYPE20K = Known(
    "covtype20k",
    "Seven kinds of forest, 54 columns: an excerpt of 20000 of the 581012 rows of UCI Covertype (h2o's choice).",
    "table",
    (54,),
    (15000, 5000),
    "CC BY 4.0",
    ("Spruce/Fir", "Lodgepole Pine", "Ponderosa Pine", "Cottonwood/Willow", "Aspen", "Douglas-fir", "Krummholz"),
    _read_covtype,
    (
        KnownFile(
            "covtype.20k.data.gz",
            "55ff5c8510624a2fe57838017f96caf86914223f131572edd35a038f3e85e43e",
            2578724,
            packed=True,
        ),
    ),
    (
        "https://raw.githubusercontent.com/h2oai/h2o-3/66f1dfacf2bbfa0e865c7e33c9a37a5b95f9b735/smalldata/covtype/",
        "https://raw.githubusercontent.com/h2oai/h2o-2/be350f3f2c2fb6f135cc07c41f83fd0e4f521ac1/smalldata/covtype/",
    ),
    page="https://archive.ics.uci.edu/dataset/31/",
)

CATALOGUE = (
    DIGITS, MNIST, FASHION, CIFAR10, ORL_FACES, FSDD, AG_NEWS, TINYSHAKESPEARE, LETTER, ADULT, COVTYPE20K,
)  # fmt: skip
