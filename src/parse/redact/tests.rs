//! What is redacted and what is not, by example and by law.

use super::*;
use proptest::prelude::*;

fn builtin() -> Redactor {
    Redactor::new(&Redact {
        builtin: true,
        rules: Vec::new(),
    })
}

fn redacted(text: &str) -> String {
    let mut redactor = builtin();
    let mut state = RedactState::default();
    let result = redactor.redact(&mut state, text);
    assert!(
        result.is_none() || redactor.suspicious(text.as_bytes()),
        "the prefilter missed {text}"
    );
    result.unwrap_or_else(|| text.to_owned())
}

/// Each text's secret stands between `«` and `»` in the table: exactly that must go, by the rule.
fn goes(rule: &str, table: &[&str]) {
    for marked in table {
        let text = marked.replace(['«', '»'], "");
        let mut want = String::new();
        for (n, part) in marked.split(['«', '»']).enumerate() {
            match n % 2 {
                0 => want.push_str(part),
                _ => want.push_str(&format!("[redacted:{rule}]")),
            }
        }
        assert_eq!(redacted(&text), want, "{text}");
        assert_eq!(redacted(&want), want, "redacting twice");
    }
}

fn stays(table: &[&str]) {
    for text in table {
        assert_eq!(redacted(text), *text);
    }
}

#[test]
fn aws_keys_go() {
    // Key ids by their shape, secret keys and session tokens by their key, in every notation.
    goes(
        "aws-access-key-id",
        &[
            "export AWS_ACCESS_KEY_ID=«AKIAIOSFODNN7EXAMPLE»",
            "«ASIAIOSFODNN7EXAMPLE», and «AKIAIOSFODNN7EXAMPLE».",
            r#"\n[stdout]AWS_ACCESS_KEY_ID=«AKIAIOSFODNN7EXAMPLE»\\n[stderr]x"#,
            r"\\n«AKIAIOSFODNN7EXAMPLE»\\n",
            "X-Amz-Credential=«AKIAIOSFODNN7EXAMPLE»%2F20261121%2Feu-west-1",
        ],
    );
    goes(
        "aws-secret-access-key",
        &[
            "AWS_SECRET_ACCESS_KEY=«wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»",
            "aws_secret_access_key = «wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»",
            "aws configure set aws_secret_access_key «wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»",
            r#"{"SecretAccessKey":"«wJalr/K7»","x":1}"#,
            r#"payload:"{\"SecretAccessKey\": \"«wJalr/K7»\"}""#,
            r#"{\\\"secretAccessKey\\\":\\\"«wJalr/K7»\\\"}"#,
            "secret-access-key: «abc»",
        ],
    );
    goes(
        "session-token",
        &[
            "AWS_SESSION_TOKEN=«IQoJb3JpZ2luX2VjEXAMPLE==»",
            r#""SessionToken" : "«IQoJ//x+==»","#,
            "https://b.s3.amazonaws.com/k?X-Amz-Security-Token=«IQoJ%2F»&X-Amz-Date=1",
        ],
    );
    goes(
        "signature",
        &["?X-Amz-Date=1&X-Amz-Signature=«0123456789abcdef0123»&x=1"],
    );
    stays(&[
        "AKIA",
        "AKIAIOSFODNN7EXAMPLEX is too long",
        "xAKIAIOSFODNN7EXAMPLE",
        "akiaiosfodnn7example",
        "region asia-northeast1, Asia/Tokyo",
        "ASIAN FOOD",
        "aws_secret_access_key is not set",
        "signature=short",
        "Signature: 0123456789abcdef0123",
    ]);
}

#[test]
fn passwords_go() {
    // Every notation of an assignment, whatever the prefix of the key.
    goes(
        "password",
        &[
            "DB_PASSWORD=«hunter2-example»",
            "password=«hunter2» user=bob",
            "password = «hunter2»",
            "password: «hunter2»",
            "Password:«hunter2»",
            "passwd=«x»",
            "pwd=«x»;Server=y",
            "spring.datasource.password=«p@ss,w0rd!»",
            "mysql_pwd=«x»",
            "PGPASSWORD=«x» psql",
            "MYSQL_PASS=«x»",
            "smtp.pass=«x1»",
            r#"{"pass":"«x»"}"#,
            "passphrase=«correct»",
            "passWord=«x»",
            r#""password": "«a b \" c»", "user": "b""#,
            r#"'password': '«x»'"#,
            r#"password="«a b»""#,
            r#"log\":\"\\n[stderr]DB_PASSWORD=«hunter2-example»\\n\"}"}"#,
            r#"\"password\":\"«x\\\"y»\",\"z\":1"#,
            r#":password=>"«x»", :a=>1"#,
            "Config(user=bob, password=«x», host=h)",
            "{password=«x»}",
            "password=«a,b»",
            "password=«a,b», c=d",
            "a=1,password=«b»,c=d",
            "/?password=«a»&b=c",
            "--password «x»",
            "mysql --password=«x» -u root",
            "cmd -password «x» y",
            r#"["--password","«x»"]"#,
            r#"["--password", "«x»", "y"]"#,
            "<password>«x»</password>",
            "<db:Password>«x»</db:Password>",
            "user[password]=«x»",
            "$config['password'] = '«x»';",
            r#"os.environ["DB_PASSWORD"] = "«x»""#,
            r#"{"log":"+ ENV[\"DB_PASSWORD\"]=\"«x»\"\n"}"#,
            r#"config[:password] = "«x»""#,
            "settings['db']['password'] = '«x»'",
            r#"env["PGPASSWORD"]=«x»"#,
            "\u{1b}[31mpassword\u{1b}[0m=«x»\u{1b}[0m",
            "password1=«x»",
            "password%3D«x»",
            r"password\u003d«x»\u0026a",
            "pässword password=«hünter»",
            "Enter password: «hunter2»",
            "password=«$ecret»",
            r#"password="«unclosed"#,
            r"\npassword: «x»\n",
            "the password: «is» x",
            "password==«x»",
            "password='«x»'",
            "password=`«x»`",
            "DB_PWD=«/x»",
            "password=«[Xk(»",
            "password=«(a)b»",
            "PASSWORD=«C:\\dir\\x»",
            "password=«hunter2».",
        ],
    );
    stays(&[
        "password:",
        "password=",
        "password= ",
        "Password: ",
        "password: user: bob",
        "password= user=bob",
        "passwords=3",
        "password_file=/x",
        "PASSWORD_HASH=x",
        "password.length=3",
        "password reset",
        "no password",
        "password: null",
        "password=None",
        r#""password": """#,
        "password=****",
        "password=<password>",
        "password=${DB_PASSWORD}",
        "password=$DB_PASSWORD",
        "password=[FILTERED]",
        "password=[redacted:password]",
        "password: {",
        "pass=12 fail=0",
        "passed=1",
        "PWD=/opt/x",
        "OLDPWD=/",
        "pwd: /opt",
        "cat: /run/secrets/db_password: No such file or directory",
        "use --password to set it",
        "  --password string   the password",
        "  --password   the password",
        "--password --user x",
        "--password is required",
        "Password::Error",
        r#"required: ["password"]"#,
        "missing ['password'] in config",
        r#"$db['password'] = null"#,
        "config[:passwords] = 3",
        "$_POST['password']",
        "bypass",
        "compass=north",
        "password",
        "passw",
    ]);
}

#[test]
fn other_assignments_go() {
    // Tokens, secrets and keys; words that only begin like them stay.
    goes(
        "token",
        &[
            "token=«abc»",
            "access_token: «abc»",
            r#""refreshToken":"«abc»""#,
            "X-Auth-Token: «abc»",
            "--token=«x»",
            "--token «x»",
            "X-Vault-Token: «s.abc»",
        ],
    );
    goes(
        "secret",
        &[
            "secret=«abc»",
            "client_secret=«abc»",
            "clientSecret: «abc»",
            "SECRET_KEY=«abc»",
            r#""SecretString":"«{\"a\":1}»""#,
            r#""client-secret":"«x»""#,
        ],
    );
    goes(
        "api-key",
        &[
            "api_key=«abc»",
            "X-Api-Key: «abc»",
            "apiKey: «abc»",
            "API-KEY=«abc»",
            "--api-key «x»",
        ],
    );
    goes(
        "private-key",
        &["private_key=«abc»", r#""privateKey": "«abc»""#],
    );
    stays(&[
        "token bucket",
        "secretary: Ann",
        "secrets=3",
        "max_tokens=4096",
        "token_type=x",
        "idempotency_token.rb:119:in `call'",
        "The security token included in the request is expired",
        "Unexpected token in JSON",
        "tokenizer: x",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db/pw-AbCdEf",
        "--mount type=secret,id=x",
        "--secret id=x,src=y",
        r#""token":{"type":"x"}"#,
        r#""token":["#,
        "private subnet",
        "private key file: x",
        "api=1",
        "signature mismatch",
        "secret",
        "token:",
        "Token::new",
        "is not authorized to perform: x",
    ]);
}

#[test]
fn headers_go() {
    // Authorization with any scheme; bearer and basic credentials wherever they stand.
    goes(
        "authorization",
        &[
            "Authorization: «Bearer eyJhbGciOiJIUzI1NiJ9.e30.example»",
            "authorization: «Basic dXNlcjpwYXNz»",
            "Authorization: «abc123» next",
            "Authorization: «Token abc» next",
            "Proxy-Authorization: «NTLM TlRM»",
            r#"curl -H "Authorization: «Bearer x»" https://h/"#,
            r#"'Authorization': '«Bearer x y»'"#,
            "Authorization: «AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/x, SignedHeaders=host, Signature=abc»",
            r#"-H "Authorization: «Digest username=x, response=y»" z"#,
            r#"{"headers":{"authorization":"«Basic x»","accept":"y"}}"#,
            "{Authorization: «Bearer x», Accept: y}",
            r#"\"Authorization\":\"«Bearer x»\""#,
        ],
    );
    goes(
        "bearer-token",
        &[
            "sent bearer «abcdef123456»",
            "Bearer «abc.def-ghi_jkl12~+/=»",
            r#"["authorization",["Bearer «abcdef123»"]]"#,
            "Bearer «abcdef123».",
        ],
    );
    goes(
        "basic-auth",
        &["using Basic «dXNlcjpwYXNz»", "Basic «dXNlcjpwYXNzdw==» x"],
    );
    stays(&[
        "Authorization:",
        "Authorization failed",
        "authorization=none",
        "bearer token",
        "Bearer authentication",
        "bearer of news",
        r#"WWW-Authenticate: Bearer realm="example""#,
        "Basic authentication failed",
        "basic setup",
        "Basic ABCDEFGH",
    ]);
}

#[test]
fn cookies_go() {
    // All that a browser sends, the value of what a server sets; words about cookies stay.
    goes(
        "cookie",
        &[
            "Cookie: «sid=31d4d96e407aad42; theme=dark»",
            "< Set-Cookie: sid=«31d4d96e407aad42»; Path=/; HttpOnly",
            r#"curl -H "Cookie: «sid=31d4d96e407aad42»" https://h/"#,
            r#"{"cookie":"«sid=31d4d96e407aad42»","x":1}"#,
            r#"{"set-cookie":["sid=«31d4d96e407aad42»; Path=/"]}"#,
            r#"\"Set-Cookie\":\"sid=«31d4d96e»; Secure\""#,
            r#""HTTP_COOKIE"=>"«_session=31d4d96e»", "x"=>1"#,
        ],
    );
    stays(&[
        "cookie: enabled",
        "Cookie banner: shown",
        "Cookie:",
        "Set-Cookie: theme=",
        "cookies=3",
        "cookie consent a=b",
        "Cookie: [redacted:cookie]",
    ]);
}

#[test]
fn passwords_on_command_lines_go() {
    // curl's and mysql's, as a hook with `set -x` prints them; ports, prompts and files stay.
    goes(
        "basic-auth",
        &[
            "+ curl -s -u deploy:«hunter2» https://h/x",
            "+ curl -udeploy:«hunter2» https://h/x",
            "curl --user 'deploy:«hunter 2»' https://h/x",
            r#"log\":\"\\n[stdout]curl -u \\\"a:«b c»\\\" x"#,
            "curl --user=deploy:«hunter2»",
        ],
    );
    goes(
        "password",
        &[
            "+ mysql -u root -p«hunter2» shop",
            "mysqldump -p'«hunter 2»' shop",
            "mysqladmin -uroot -p«x» ping",
        ],
    );
    stays(&[
        "curl https://h:80/",
        "curl -u deploy https://h/",
        "curl -U proxy https://h/a:b",
        "curl -s x | sort -u a:b",
        "curl failed; test -u a:b",
        "curl -u $USER:$PASS https://h/",
        "mysql -u root -p shop",
        "mysql -P3306 -h db",
        "docker run -p 3306:3306 mysql",
        "mysql --protocol=tcp",
        "mysql is up",
    ]);
}

#[test]
fn names_and_values_in_two_fields_go() {
    // Lists of settings, as task definitions, .NET and Spring print them, and calls that set one;
    // names alone, references and what belongs to another name stay.
    goes(
        "password",
        &[
            r#"{"name":"DB_PASSWORD","value":"«hunter2»"}"#,
            r#"{"Name": "DB_PASSWORD", "Value": "«hun ter2»", "Type": "String"}"#,
            r#"{\"name\":\"DB_PASSWORD\",\"value\":\"«hunter2»\"}"#,
            r#"{'name': 'DB_PASSWORD', 'value': '«hunter2»'}"#,
            r#"<add key="DbPassword" value="«hunter2»" />"#,
            r#"<property name="password">«hunter2»</property>"#,
            r#"[Environment]::SetEnvironmentVariable("DB_PASSWORD", "«hunter2»")"#,
            r#"setenv('DB_PASSWORD','«hunter2»', 1)"#,
            r#"$env:DB_PASSWORD = "«two words»""#,
            r#"declare -x DB_PASSWORD="«two words»""#,
            "DB_PASSWORD: '«two words»'",
            "ALTER USER u WITH PASSWORD '«hunter2»';",
            "CREATE USER u IDENTIFIED BY '«hunter2»';",
            r#"create user u identified by "«hunter2»""#,
        ],
    );
    goes("secret", &[r#"{"name":"CLIENT_SECRET","value":"«abc»"}"#]);
    stays(&[
        r#"{"name":"DB_PASSWORD","valueFrom":"arn:aws:ssm:eu-west-1:111122223333:parameter/db"}"#,
        r#"{"name":"DB_PASSWORD","value":""}"#,
        r#"{"name":"DB_PASSWORD","value":null}"#,
        r#"["password","email","value"]"#,
        r#"require("password", options)"#,
        r#"<input name="password" type="text" value="x">"#,
        r#"<field name="password"/>"#,
        "the password's length",
        "the passwords 'a' and 'b'",
        "identified by its name",
        "identified by ''",
    ]);
}

#[test]
fn more_tools_and_tokens_go() {
    // What only its shape or its tool gives away; what merely looks like it stays.
    goes(
        "stripe-key",
        &[
            "charged with «sk_live_51H8abcdEFGHijklMNOP»",
            "STRIPE_KEY=«rk_live_51H8abcdEFGHijklMNOP», x",
        ],
    );
    goes(
        "gitlab-token",
        &["clone with «glpat-abcdefghij0123456789» now"],
    );
    goes(
        "slack-token",
        &[
            "POST https://hooks.slack.com/services/«T00000000/B00000000/abcdefABCDEF012345678901» 200",
        ],
    );
    goes(
        "cookie",
        &[
            "GET /shop;jsessionid=«0123456789ABCDEF0123456789ABCDEF» 200",
            "JSESSIONID=«0123456789ABCDEF0123456789ABCDEF»",
        ],
    );
    goes(
        "secret",
        &[
            "RAILS_MASTER_KEY=«0123456789abcdef»",
            "SECRET_KEY_BASE=«0123456789abcdef»",
            r#""encryption_key": "«abc def»""#,
        ],
    );
    goes(
        "password",
        &[
            "docker login -u bob -p «hunter2» registry.example.com",
            "+ sudo podman login --username bob -p '«hunter 2»' r",
            "az login --service-principal -u x -p «hunter2» --tenant t",
            "sshpass -p «hunter2» ssh deploy@h",
            "sshpass -p'«hunter2»' ssh deploy@h",
            "'sshpass' -p «hunter2» ssh deploy@h",
            "\"/usr/bin/sshpass\" -p «hunter2» ssh deploy@h",
            "keytool -list -storepass «changeit» -keystore k",
        ],
    );
    goes(
        "basic-auth",
        &[
            "curl -sSLu deploy:«hunter2» https://h/x",
            "curl --proxy-user deploy:«hunter2» https://h/x",
        ],
    );
    goes(
        "token",
        &[
            "POST https://api.telegram.org/bot«123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc/sendMessage» 200",
            "https://discord.com/api/webhooks/«123456789012345678/abc-DEF_ghi»",
            "https://x.webhook.office.com/webhookb2/«0123abcd-1@4567/IncomingWebhook/0123»",
        ],
    );
    stays(&[
        "see https://discord.com/api/docs",
        "GET https://api.telegram.org/bots",
        "task_live_0123456789abcdefgh",
        "sk_live_short",
        "sk_test_short",
        "glpat-short",
        "see https://hooks.slack.com/docs",
        "SessionId=17",
        "sessionid: 0123456789ABCDEF0123456789ABCDEF",
        "encryption_key_length=256",
        "master_key: null",
        "docker login --password-stdin",
        "docker login -u bob https://h",
        "login -p 8080",
        "docker run -p 80:80 x",
        "Login failed; retry -p 3",
        "sshpass: command not found",
        "sshpass -f /run/pw ssh h",
        "curl -sSLu deploy https://h/x",
        "curl -sS https://h/a:b",
        "keystore passed",
    ]);
}

#[test]
fn what_deployments_print_in_passing_goes() {
    // Traces of a shell, settings of tools, tables of keys; what only looks like them stays.
    goes(
        "password",
        &[
            "DBPASS=«hunter2»",
            "DB_PASS=«12345678»",
            "password=b'«hunter2»'",
            "'password': u'«hunter2»'",
            "'password': ['«hunter2»']",
            r#""password"=>["«hunter2»"]"#,
            "map[Password:[«hunter2»] Accept:[*/*]]",
            "password[]=«hunter2»",
            r"\x22password\x22:\x22«hun ter2»\x22,\x22x\x22",
            r"\\x22password\\x22:\\x22«hun ter2»\\x22",
            "&quot;password&quot;: &quot;«hun ter2»&quot;",
            "?q=%7B%22password%22%3A%22«hunter2»%22%7D",
            r#""{""password"":""«hunter2»""}""#,
            r"net.password\\u003d«hunter2»",
            "SET PASSWORD FOR 'u'@'h' = '«hun ter2»'",
            "SET PASSWORD FOR u = PASSWORD('«hun ter2»')",
            "CREATE USER u IDENTIFIED WITH sha256_password BY '«hunter2»'",
            "Your password is: «hun ter2»",
            "password = \"\"\"«hunter2»\"\"\"",
            "DB_\u{1b}[01;31m\u{1b}[KPASS\u{1b}[m\u{1b}[KWORD=«hunter2»",
            "+ export 'DB_PASSWORD=«two words»'",
            r#"+ docker run -e "DB_PASSWORD=«two words»" x"#,
            "'password=«one» user=x'",
            "'password=«one two» user=x'",
            "+ mysql -u root '-p«hunter 2!»' shop",
            "auth: { user: 'bob', pass: '«hunter2»' }",
            "{'user': 'bob', 'pass': '«hunter2»'}",
            "<pass>«hunter2»</pass>",
            "    pass: «hunter2»",
            "[stdout]pass: «hunter2»",
            "smtp pass = «hunter2»",
            "openssl rsa -in k -passin pass:«hunter2»",
            "deploy --db-pass «hunter2» x",
            "DB_PW=«hunter2»",
            r#"{"pw":"«hunter2»"}"#,
            "machine h.example login bob password «hunter2»",
            "Step 3/9 : ENV DB_PASSWORD «hunter2»",
            "SetEnv DB_PASS «hunter2»",
            "requirepass «hunter2»",
            "CONFIG SET requirepass «hunter2»",
            "A temporary password is generated for root@localhost: «aB<3;x'y»",
            "user%5Bpassword%5D=«hunter2»&x=1",
            "redis-cli -h h -a «hunter2» ping",
            "mongosh -u admin -p «hunter2» db",
            "mongodump -p '«hunter 2»'",
        ],
    );
    goes(
        "secret",
        &[
            "APP_KEY=«base64:abcdefgh0123456789=»",
            "newrelic.license_key: «0123456789abcdef»",
            "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=«abc/+==»;EndpointSuffix=y",
            "X-Auth-Key: «0123456789abcdef»",
            "aws ssm put-parameter --name /db/pw --type SecureString --value '«hun ter2»' --overwrite",
            "aws ssm put-parameter --name /db/pw --value «hunter2» --type SecureString",
            r#"{"Name":"/db/x","Type":"SecureString","Value":"«hunter2»","Version":1}"#,
            "PARAMETERS\t/db/x\tSecureString\t«hun ter2»\t1",
        ],
    );
    goes(
        "api-key",
        &[
            "Your API key: «abc»",
            "https://maps.googleapis.com/x?key=«AIzaSyA0123456789abcdefghijklmnopqrst-_» x",
        ],
    );
    goes(
        "basic-auth",
        &[
            r#"{"auths":{"r.example":{"auth":"«dXNlcjpwYXNz»"}}}"#,
            r#"{\"auth\": \"«dXNlcjpwYXNz»\"}"#,
            "//registry.example/:_auth=«dXNlcjpwYXNzdw==»",
        ],
    );
    goes(
        "cookie",
        &[
            "GET /x?PHPSESSID=«0123456789abcdef0123» 200",
            "+ curl --cookie '«sid=31d4d96e407aad42»' https://h/",
        ],
    );
    goes(
        "aws-secret-access-key",
        &["AWS Secret Access Key: «wJalr/K7»"],
    );
    goes(
        "jwt",
        &[format!("«eyJwYXlsb2Fk{}=»", "aB3".repeat(60)).as_str()],
    );
    goes(
        "session-token",
        &[format!("x «IQoJb3JpZ2luX2Vj{}/+==» y", "aB3".repeat(60)).as_str()],
    );
    for between in ["\t2026-11-21T03:00:00Z\t", ",", " ", " | "] {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let line = format!("CREDENTIALS\tASIAIOSFODNN7EXAMPLE{between}{secret}\tx");
        let want = format!(
            "CREDENTIALS\t[redacted:aws-access-key-id]{between}[redacted:aws-secret-access-key]\tx"
        );
        assert_eq!(redacted(&line), want);
    }
    stays(&[
        "PASS: TestLogin",
        "tests_pass=12",
        "password: [",
        "password: []",
        "Password:[FILTERED]",
        "enter password for bob = no",
        "identified with care by all",
        "the password is wrong: try again",
        "secret access: granted",
        "an API key is missing",
        "curl --cookie jar.txt https://h/",
        "--- PASS: TestLogin (0.00s)",
        "PASS",
        "second pass: done",
        "bypass=1",
        "surpass: x",
        "ffmpeg -pass 1 -y",
        "passing: 3",
        "pass: 12",
        "--pass-through x",
        "pw=",
        "xpw=abc",
        "primary_key=7",
        "cache-key: abc",
        "app_key_id=7",
        "no password required",
        "the password must change",
        "ENV DB_PASSWORD_FILE /run/x",
        "login bob; password reset",
        "docker run --name mongo -p 27017:27017 mongo:6",
        "docker run --name mysql -p3306:3306 mysql",
        "redis-cli ping",
        r#"{"auth":"none"}"#,
        r#""auth" failed: basic"#,
        r#"{"Type":"SecureString","Name":"/db/x"}"#,
        "put-parameter --type String --value 3",
        "the type SecureString is encrypted",
        "AIzaShort",
        "IQoJshort",
        "commit 0123456789abcdef0123456789abcdef01234567",
    ]);
}

/// Redacts one line in parts of at most so many bytes, as long lines are; also as a restart between
/// any two parts does it.
fn parts(line: &str, bytes_max: usize) -> [String; 2] {
    let bytes = line.as_bytes();
    let mut through = (builtin(), RedactState::default(), String::new());
    let mut restarted = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let is_last = rest.len() <= bytes_max;
        let end = match is_last {
            true => bytes.len(),
            false => {
                at + through
                    .0
                    .cut_before(rest, line.floor_char_boundary(at + bytes_max) - at)
            }
        };
        assert!(end > at && end - at <= bytes_max);
        let text = &line[at..end];
        let mut again = (builtin(), RedactState::default());
        again
            .0
            .recall(&mut again.1, &bytes[at.saturating_sub(65_536)..at]);
        assert!(again.0.take_counts().is_empty());
        for (redactor, state, joined) in [
            (&mut through.0, &mut through.1, &mut through.2),
            (&mut again.0, &mut again.1, &mut restarted),
        ] {
            let result = match is_last {
                true => redactor.redact(state, text),
                false => redactor.redact_part(state, text),
            };
            joined.push_str(&result.unwrap_or_else(|| text.to_owned()));
        }
        at = end;
    }
    [through.2, restarted]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_cut_lets_a_secret_through(
        before in "([a-z é]{0,3}|[a-zA-Z0-9]{0,90}){0,8}", after in "[ -~é]{0,80}", plant in 0usize..20,
        bytes_max in 100usize..300,
    ) {
        // Wherever a line is cut, and whether or not we restart there, no half of a secret is left:
        // shown with every kind of secret at every place in lines cut into parts.
        let secret = "q7ZpX9vK2mB4nT6w";
        let text = [
            format!("password={secret}"), format!("\"token\":\"{secret}\""), format!("--api-key {secret}"),
            format!("postgres://u:{secret}@h/"), format!("Authorization: Bearer {secret}"),
            format!("\\\"secret\\\":\\\"{secret}\\\""), format!("CLIENT_SECRET = {secret}"),
            format!("bearer {secret}"), format!("-----BEGIN PRIVATE KEY-----\\n{secret}"),
            format!("<password>{secret}</password>"), format!("curl -u a:{secret} x"),
            format!("Set-Cookie: sid={secret}; Path=/"),
            format!("password='{}{secret} {secret}'", "a b ".repeat(200)),
            format!("token={}{secret}{secret}", "x1".repeat(300)),
            format!("'DB_PASSWORD=a b {secret} {secret}'"), format!("mysql '-p{secret} {secret}' x"),
            format!("put-parameter --type SecureString --value {secret}"), format!("redis-cli -a {secret}"),
            format!("password is generated for root@localhost: {secret}"), format!("ENV DB_PASSWORD {secret}"),
        ][plant].clone();
        let line = format!("{before} {text} {after}");
        for result in parts(&line, bytes_max) {
            for half in [&secret[..8], &secret[8..]] {
                prop_assert!(!result.contains(half), "{} -> {}", line, result);
            }
        }
    }
}

#[test]
fn known_shapes_are_never_cut() {
    // Key ids and tokens that only their whole shape gives away stay in one part: shown at every
    // position of the cut.
    for secret in [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "xoxb-123456789012-abcdefGHIJ",
        "sk_live_51H8abcdEFGHijklMNOP",
        "glpat-abcdefghij0123456789",
        "AIzaSyA0123456789abcdefghijklmnopqrst-_",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln-_",
        "npm_0123456789abcdefghijABCDEFGHIJ012345",
        "hvs.CAESIJ0123456789abcdefghijABCDEFGHIJ",
        "root:s3cr3tP4ssw0rd@tcp(db:3306)/shop",
    ] {
        for lead in 1..120 {
            let line = format!("{} {secret} {}", "~".repeat(lead), "~".repeat(150));
            for result in parts(&line, 120) {
                assert!(result.contains("[redacted:"), "{line} -> {result}");
                assert!(!result.contains(&secret[4..8]), "{line} -> {result}");
            }
        }
    }
}

#[test]
fn a_key_printed_across_our_restart_is_still_one() {
    // Its lines go whether we were there when it began or look back at it: shown with a restart
    // behind each of its lines, and with a key that ended before.
    let body = "MIIEpAIBAAKCAQEA0123456789abcdefghijklmnopqrstuvwxyz+/ABCDEFGHIJ";
    let text = format!(
        "start\n-----BEGIN RSA PRIVATE KEY-----\n{}ab==\n-----END RSA PRIVATE KEY-----\n{body}\n",
        format!("{body}\n").repeat(40)
    );
    let whole = lines(&text);
    let mut at = 0;
    for (nth, line) in text.lines().enumerate() {
        let mut redactor = builtin();
        let mut state = RedactState::default();
        redactor.recall(&mut state, &text.as_bytes()[..at]);
        let result = redactor.redact(&mut state, line);
        assert_eq!(result.as_deref().unwrap_or(line), whole[nth], "line {nth}");
        at += line.len() + 1;
    }
    assert_eq!(whole.iter().filter(|line| line.contains(body)).count(), 1);
}

#[test]
fn passwords_in_urls_go() {
    // Only the password of the user information; ports, mail addresses and paths stay.
    goes(
        "url-password",
        &[
            "postgres://user:«hunter2»@db:5432/x",
            "redis://:«p»@h",
            "https://bob:«a:b@c»@h/x?y=1@z",
            "https://«0123456789abcdef0123»@github.com/x.git",
            r"postgres:\/\/u:«p»@h\/x",
            "amqp://u:«p/w»@h/",
            "x://u:«p»@h,y://v:«q»@i",
            "jdbc:mysql://u:«p»@h",
        ],
    );
    stays(&[
        "http://host:8080/a@b",
        "https://git@github.com/x",
        "https://h/x?mail=a@b",
        "http://h/",
        "mailto:a@b",
        "://",
        "http://u:@h",
        "http://user:****@h",
        "http://[::1]:80/",
        "ssh://user@h:22",
        "see http://h:x/y",
    ]);
}

#[test]
fn tokens_known_by_shape_go() {
    // GitHub, Slack and JSON web tokens without any key.
    goes(
        "github-token",
        &[
            "«ghp_0123456789abcdefghijABCDEFGHIJ012345»",
            "x «github_pat_11ABCDEFG0123456789_abcdefgh» y",
            "https://x:«ghs_0123456789abcdefghijABCDEFGHIJ012345» z",
        ],
    );
    goes(
        "slack-token",
        &[
            "hook «xoxb-123456789012-abcdefGHIJ» end",
            "«xoxe.xoxp-1-Mi0yLTEyMzQ1»",
        ],
    );
    goes(
        "jwt",
        &[
            "got «eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln-_» ok",
            "«eyJhbGciOiJIUzI1NiJ9.e30.example»",
            "id='«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.»'",
        ],
    );
    stays(&[
        "ghp_short",
        "aghp_0123456789abcdefghijABCDEFGHIJ012345",
        "xoxo",
        "xoxb",
        "eyJ",
        "eyJhbGciOiJIUzI1NiJ9 alone",
        "eyJhbGciOiJIUzI1NiJ9.x",
    ]);
}

#[test]
fn tokens_of_registries_and_services_go() {
    // What tools print of Vault, SendGrid, Stripe, Slack, AI services and registries goes by its own shape,
    // and what only begins alike stays: each as its maker documents it, with other letters.
    let body = "Zq7ZpX9vK2mB4nT6wAbCdEfGhIjKlMnOpQrStUvWxYz0123456789q7ZpX9vK2mB4nT6wAbCdEfGhIjKl";
    let table = |rule: &str, tokens: &[String]| {
        for token in tokens {
            let lines = [
                "«»",
                "got «», next",
                r#"{"x":"«»"}"#,
                r"\\n[stdout]«»\\n",
                "x=«»",
            ];
            let lines = lines.map(|line| line.replace("«»", &format!("«{token}»")));
            goes(rule, &lines.each_ref().map(String::as_str));
        }
    };
    table(
        "token",
        &[
            format!("npm_{}", &body[..36]),
            format!("hvs.CAESI{body}"),
            format!("dckr_pat_{}", &body[..27]),
            format!("pypi-AgEIcHlwaS5vcmcC{body}"),
        ],
    );
    table(
        "api-key",
        &[
            format!("SG.{}.{}", &body[..22], &body[..43]),
            format!("sk-ant-api03-{body}-AA"),
            format!("sk-proj-{body}"),
        ],
    );
    table(
        "stripe-key",
        &[
            format!("sk_test_{}", &body[..24]),
            format!("rk_test_{body}"),
        ],
    );
    table(
        "slack-token",
        &[format!(
            "xapp-1-A0123456789-1234567890123-{}",
            body.to_lowercase()
        )],
    );
    stays(&[
        "npm_config_cache=/root/.npm npm_lifecycle_event=install",
        "xapp-server-prod-eu-west-1-with-a-very-long-name-indeed",
        "task-ant-1 disk-proj-0123456789012345678901234567890123456789",
        "pypi-age-of-packages msg.length SG.1 sg.abc hvs.go dckr_pat_",
        "pk_test_0123456789abcdefghijklmn check_test_0123456789abcdefghijklmn",
    ]);
}

#[test]
fn names_of_secrets_without_a_joint_go() {
    // Names whose words nothing joins, as Azure, LDAP and Go's drivers of databases have them; names that go
    // on, and words that only end alike, stay.
    goes(
        "secret",
        &[
            "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=«abc123+/de=»",
            "HostName=h.azure-devices.net;DeviceId=d;SharedAccessKey=«abc123+/de=»",
            "accessKey: «wJalrXUtnFEMI»",
            "AES_KEY=«wJalrXUtnFEMI»",
            "workspace_shared_key: «abc123+/de=»",
        ],
    );
    goes(
        "signature",
        &[
            "https://a.blob.core.windows.net/c/b?sv=2022-11-02&se=2026-01-01&sig=«abc%2Bdefghijklmnopqr%3D»&sp=r",
            "SharedAccessSignature sr=h&sig=«abcdefghijklmnopqrstu%3D»&se=1795299234",
        ],
    );
    goes(
        "password",
        &[
            "bindpw=«s3cret»",
            "bindpw «s3cret»",
            "bindpw: «s3cret»",
            "rootpw=«s3cret»",
            "SSHPASS=«s3cret» sshpass -e ssh h",
            "ansible_sshpassword=«s3cret»",
            "export SSHPASS='«s3cret»'",
        ],
    );
    goes(
        "url-password",
        &[
            "connect root:«s3cr@t/x»@tcp(10.0.0.1:3306)/shop?parseTime=true",
            r#"DB_DSN="app:«p:w»@tcp(db:3306)/shop""#,
            r#"{\"dsn\":\"app:«s3cret»@tcp(db)/\"}"#,
        ],
    );
    stays(&[
        "SharedAccessKeyName=RootManageSharedAccessKey",
        "accessKeyId: AKIA",
        "design=abcdefghijklmnopqrstu",
        "gpg --verify x.sig=",
        "app@tcp(db:3306)/shop",
        "root:@tcp(db:3306)/shop",
        "root:${DB_PASSWORD}@tcp(db:3306)/shop",
        "bindpw is set",
    ]);
}

#[test]
fn private_keys_in_one_text_go() {
    // Whole, cut off at either end, and with newlines written out; certificates stay.
    goes(
        "private-key",
        &[
            "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n«-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\nabc=\n-----END RSA PRIVATE KEY-----»\nafter",
            r"key: «-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----»\n next",
            r#"\\n[stdout]«-----BEGIN EC PRIVATE KEY-----\\n[stdout]MIIEabcd\\n[stdout]abc=\\n»\"}"},host:"x""#,
            r#"log\":\"«MIIEabcdefghijklmn0\\n[stdout]abcdefghijklmnopqrst\\n[stdout]abc=\\n[stdout]-----END RSA PRIVATE KEY-----»\\n\"}"#,
            "«-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nabc\n-----END PGP PRIVATE KEY BLOCK-----»",
        ],
    );
    goes(
        "private-key",
        &[r#"{"private_key": "«-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n»"}"#],
    );
    stays(&[
        "-----BEGIN PUBLIC KEY-----",
        "BEGIN PRIVATE KEY",
        "private key",
        "-----END RSA PRIVATE KEY-----",
        "no PRIVATE KEY-----",
    ]);
}

/// A key whose end is too far from a begin before it goes whole: shown on ends around the place up
/// to which was looked for that one's.
#[test]
fn an_end_too_far_for_one_begin_is_anothers() {
    let begin = "-----BEGIN PRIVATE KEY-----{";
    for second in [32 * 1024 - 60, 31 * 1024, 1024] {
        for end in 32 * 1024 - 20..32 * 1024 + 20 {
            let mut text = format!("{begin}{}", ".".repeat(second - begin.len()));
            text += begin;
            text += &".".repeat(begin.len() - 1 + end - text.len());
            let reaches = text.len() + "-----END ".len() <= begin.len() - 1 + 32 * 1024;
            text += "-----END PRIVATE KEY-----";
            let want = if reaches {
                "[redacted:private-key] after".to_owned()
            } else {
                let gap = &text[begin.len() - 1..second];
                format!("[redacted:private-key]{gap}[redacted:private-key] after")
            };
            assert_eq!(redacted(&(text + " after")), want, "{second} {end}");
        }
    }
}

/// Redacts line after line of one file.
fn lines(text: &str) -> Vec<String> {
    let mut redactor = builtin();
    let mut state = RedactState::default();
    text.lines()
        .map(|line| {
            let may = state.is_active() || redactor.suspicious(line.as_bytes());
            let result = redactor.redact(&mut state, line);
            assert!(may || result.is_none(), "the prefilter missed {line}");
            result.unwrap_or_else(|| line.to_owned())
        })
        .collect()
}

#[test]
fn private_keys_printed_line_by_line_go() {
    // Each line of base64 between the markers goes, also behind the prefixes of CodeDeploy's logs;
    // lines between and after stay, and the next key begins again.
    let head = "2026-11-21 01:53:20 [stdout]";
    let body = "MIIEpAIBAAKCAQEA0123456789abcdefghijklmnopqrstuvwxyz+/ABCDEFGHIJ";
    for head in [
        "",
        head,
        "[2026-11-21 01:53:20.025] [d-X][stdout]",
        "Nov 21 01:53:20 host app[1]: ",
    ] {
        let text = format!(
            "{head}-----BEGIN RSA PRIVATE KEY-----\n{head}{body}\n{head}between two streams\n{head}{body}\n{head}ab==\n\
             {head}-----END RSA PRIVATE KEY-----\n{head}{body}\n{head}done\n"
        );
        let gone = "[redacted:private-key]";
        let want = [
            gone,
            gone,
            "between two streams",
            gone,
            gone,
            "-----END RSA PRIVATE KEY-----",
            body,
            "done",
        ];
        let want = want.map(|line| format!("{head}{line}"));
        assert_eq!(lines(&text), want);
    }
}

#[test]
fn a_key_without_end_is_over_after_its_longest() {
    // 200 lines on, base64 is only base64 again.
    let body = "MIIEpAIBAAKCAQEA0123456789abcdefghijklmnopqrstuvwxyz+/ABCDEFGHIJ";
    let text = format!(
        "-----BEGIN PRIVATE KEY-----\n{}",
        format!("{body}\n").repeat(210)
    );
    let result = lines(&text);
    assert!(
        result[..=200]
            .iter()
            .all(|line| line == "[redacted:private-key]")
    );
    assert!(result[201..].iter().all(|line| line == body));
}

#[test]
fn a_record_of_many_lines_continues_a_key() {
    // A joined record inside a key loses its key lines up to the end marker, not what follows.
    let mut redactor = builtin();
    let mut state = RedactState::default();
    assert!(
        redactor
            .redact(
                &mut state,
                "x -----BEGIN PRIVATE KEY-----\nMIIEabcdefghijklmn0\n"
            )
            .is_some()
    );
    assert!(state.is_active());
    let result = redactor.redact(
        &mut state,
        "abcdefghijklmnopqrst\n-----END PRIVATE KEY-----\nabcdefghijklmnopqrst",
    );
    assert_eq!(
        result.unwrap(),
        "[redacted:private-key]\nabcdefghijklmnopqrst"
    );
    assert!(!state.is_active());
}

#[test]
fn user_rules_take_their_group_or_everything() {
    // The group `secret` where there is one, else the whole match; with the built-in rules off
    // nothing else goes; counts are by name and only once.
    let rules = Redact {
        builtin: false,
        rules: vec![
            (
                "card".to_owned(),
                Regex::new(r"card=(?<secret>\d+)").unwrap(),
            ),
            ("id".to_owned(), Regex::new(r"ID-\d+|").unwrap()),
        ],
    };
    let mut redactor = Redactor::new(&rules);
    assert!(redactor.suspicious(b"anything"));
    let mut state = RedactState::default();
    let result = redactor.redact(&mut state, "card=42 ID-7 ID-8 password=x");
    assert_eq!(
        result.unwrap(),
        "card=[redacted:card] [redacted:id] [redacted:id] password=x"
    );
    assert_eq!(
        redactor.redact(&mut state, "-----BEGIN PRIVATE KEY-----"),
        None
    );
    let counts = redactor.take_counts();
    assert_eq!(
        counts,
        BTreeMap::from([("card".to_owned(), 1), ("id".to_owned(), 2)])
    );
    assert!(redactor.take_counts().is_empty());
    let off = Redactor::new(&Redact {
        builtin: false,
        rules: Vec::new(),
    });
    assert!(!off.suspicious(b"password=x"));
}

#[test]
fn overlapping_rules_make_one_replacement() {
    // A user rule that reaches over a built-in one joins it; the union goes, counted once.
    let rules = Redact {
        builtin: true,
        rules: vec![("pair".to_owned(), Regex::new(r"ter2 \w+").unwrap())],
    };
    let mut redactor = Redactor::new(&rules);
    let result = redactor.redact(&mut RedactState::default(), "a password=hunter2 next one");
    assert_eq!(result.unwrap(), "a password=[redacted:password] one");
    assert_eq!(
        redactor.take_counts(),
        BTreeMap::from([("password".to_owned(), 1)])
    );
}

#[test]
fn what_only_looks_like_a_reports_end_is_none() {
    // Behind the last argument of a report nothing stands: where something does, all of it goes.
    for behind in [" hunter2", "x", r#"},host_command_identifier:"B") hunter2"#] {
        let line = format!(r#"password='a"}},host_command_identifier:"A"){behind}"#);
        assert_eq!(redacted(&line), "password='[redacted:password]", "{line}");
    }
}

proptest! {
    #[test]
    fn a_report_keeps_its_commands_identifier(
        before in "[a-z =.]{0,30}", opened in 0usize..11, rest in "[a-z. ]{0,40}", cut in any::<bool>(),
    ) {
        // Whatever a failed hook printed last, what the agent told the service of it must still say of
        // which command: shown with secrets whose quote is open where the output ends or the SDK cuts it.
        let secret = "q7ZpX9vK2mB4nT6w";
        let opened = [
            "password='", r#"\\\"token\\\":\\\""#, "secret=%22", "api_key=&quot;", "IDENTIFIED BY '",
            "Authorization: Digest username='x', response=", "mysql '-p",
            "A temporary password is generated for root@localhost: ", "Your password is: ",
            "--password=`", "-----BEGIN PRIVATE KEY-----\\\\n",
        ][opened];
        let end = match cut {
            true => r#"" ... (2174 bytes)>"#,
            false => r#"\\n\"}""#,
        };
        let payload = format!(r#"{{\"error_code\":4,\"log\":\"{before} {opened}{secret}{rest}"#);
        let tail = r#"},host_command_identifier:"WyJjb20uZXhhbXBsZQ==")"#;
        let result = redacted(&format!(r#"diagnostics:{{format:"JSON",payload:"{payload}{end}{tail}"#));
        prop_assert!(!result.contains(secret), "{}", result);
        let behind = [r#"" ... (2174 bytes)>"#, r#"""#].map(|end| format!("{end}{tail}"));
        prop_assert!(behind.iter().any(|behind| result.ends_with(behind)), "{}", result);
    }
}

/// Fragments of secrets and of what is around them, in any order.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "password",
        "PASS",
        "_",
        "token",
        "secret",
        "access",
        "key",
        "api",
        "=",
        ":",
        " ",
        "\"",
        "'",
        "\\",
        "\\n",
        "n",
        "://",
        "@",
        "a",
        "hunter2",
        "AKIAIOSFODNN7EXAMPLE",
        "Authorization",
        "Bearer",
        "Basic ",
        "dXNlcjpwYXNz",
        "-----BEGIN ",
        "-----END ",
        "PRIVATE KEY",
        "-----",
        "\n",
        ",",
        "&",
        "é",
        "eyJhbGciOiJIUzI1NiJ9",
        ".",
        "[",
        "]",
        "{",
        "<",
        ">",
        "--",
        "\u{1b}[0m",
        "[stdout]",
        "xoxb-",
        "/",
        "%3D",
        "digest ",
        "pwd",
        "signature",
        "MIIEpAIBAAKCAQEA0123",
    ]);
    prop::collection::vec(fragment, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_text_is_redacted_soundly(texts in prop::collection::vec(fragments(), 1..4)) {
        // Whatever the text: no panic, the prefilter never says no where a rule says yes, counts
        // and replacements agree, what stays stays in order.
        let mut redactor = builtin();
        let mut state = RedactState::default();
        for text in &texts {
            let may = state.is_active() || redactor.suspicious(text.as_bytes());
            let Some(result) = redactor.redact(&mut state, text) else {
                continue;
            };
            prop_assert!(may);
            let replaced = result.matches("[redacted:").count() as u64;
            prop_assert_eq!(redactor.take_counts().values().sum::<u64>(), replaced);
            let mut rest = text.as_str();
            for piece in result.split("[redacted:").enumerate().map(|(n, piece)| match n {
                0 => piece,
                _ => piece.split_once(']').unwrap().1,
            }) {
                let at = rest.find(piece);
                prop_assert!(at.is_some());
                rest = &rest[at.unwrap() + piece.len()..];
            }
        }
    }

    #[test]
    fn a_planted_secret_never_survives(
        before in "[ -~]{0,40}", after in "[ -~]{0,40}", plant in 0usize..10,
    ) {
        // Among any other text, a secret in an unmistakable place is gone.
        let secret = "q7ZpX9vK2mB4nT6w";
        let text = [
            format!("password={secret}"), format!("\"token\":\"{secret}\""), format!("--api-key {secret}"),
            format!("postgres://u:{secret}@h/"), format!("Authorization: Bearer {secret}"), format!("\\\"secret\\\":\\\"{secret}\\\""),
            format!("CLIENT_SECRET = {secret}"), format!("bearer {secret}"), format!("-----BEGIN PRIVATE KEY-----\\n{secret}"),
            format!("<password>{secret}</password>"),
        ][plant].clone();
        let text = format!("{before} {text} {after}");
        let result = redacted(&text);
        prop_assert!(!result.contains(secret), "{} -> {}", text, result);
    }
}
